-- What the decoders of this folder share: how they refuse bytes, what is text, how bytes are read and restored.
-- A file here is a Lua module. What it uses of the others comes with its argument, and it returns what they may use.

-- Ends the decoding of an entry: it must not be read. Any other error is a fault of the decoder.
local function refuse(reason) error({refused = reason}) end

-- For each first byte of a character in UTF-8 that is not ASCII: how many bytes follow, and between which the next one is.
local function following(first)
  if first >= 0xc2 and first <= 0xdf then return 1, 0x80, 0xbf end
  if first == 0xe0 then return 2, 0xa0, 0xbf end
  if first == 0xed then return 2, 0x80, 0x9f end -- No halves of surrogate pairs.
  if first >= 0xe1 and first <= 0xef then return 2, 0x80, 0xbf end
  if first == 0xf0 then return 3, 0x90, 0xbf end
  if first >= 0xf1 and first <= 0xf3 then return 3, 0x80, 0xbf end
  if first == 0xf4 then return 3, 0x80, 0x8f end
end

-- Returns the bytes, which must be UTF-8.
local function text(bytes)
  local at = string.find(bytes, '[\128-\255]')
  while at do
    local count, least, most = following(string.byte(bytes, at))
    local second = string.byte(bytes, at + 1)
    if not count or not second or second < least or second > most
      or not string.find(bytes, '^' .. string.rep('[\128-\191]', count), at + 1) then
      refuse('a text is not UTF-8')
    end
    at = string.find(bytes, '[\128-\255]', at + count + 1)
  end
  return bytes
end

-- Reads bytes from their beginning. It refuses to read behind their end.
local function reader(bytes)
  local at = 1
  return {
    take = function(count)
      if count > #bytes - at + 1 then refuse('it is cut off') end
      at = at + count
      return string.sub(bytes, at - count, at - 1)
    end,
    is_over = function() return at > #bytes end,
    finish = function()
      if at <= #bytes then refuse('there are bytes behind its end') end
    end,
  }
end

-- Collects what is restored from compressed bytes, in which a part may stand for bytes that came before.
local function restored()
  local found, size = {}, 0
  return {
    add = function(bytes)
      for i = 1, #bytes do found[size + i] = string.sub(bytes, i, i) end
      size = size + #bytes
    end,
    -- Adds `count` bytes, each of which is the one that stands `distance` before it.
    again = function(distance, count)
      if distance == 0 or distance > size then refuse('it repeats what is not there') end
      for i = size + 1, size + count do found[i] = found[i - distance] end
      size = size + count
    end,
    size = function() return size end,
    whole = function() return table.concat(found) end,
  }
end

return {refuse = refuse, text = text, reader = reader, restored = restored}
