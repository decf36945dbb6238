-- Restores what an lz4 frame has: one frame, without a dictionary, with all its checksums right.
local use = ...
local refuse = use.bytes.refuse
local band, rol, rshift, tobit, bxor = bit.band, bit.rol, bit.rshift, bit.tobit, bit.bxor

local P1, P2, P3, P4, P5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393

-- A product modulo 2^32. Floating-point numbers do not have it exactly, so one factor is taken in two halves.
local function times(a, b) return tobit(band(a, 0xffff) * b + bit.lshift(tobit(rshift(a, 16) * b), 16)) end

local function word(bytes, at) return (struct.unpack('<I4', bytes, at)) end

local function xxh32(data)
  local at, hash = 1, P5
  if #data >= 16 then
    local state = {P1 + P2, P2, 0, -P1}
    while #data - at >= 15 do
      for i = 1, 4 do
        state[i] = times(rol(tobit(state[i] + times(word(data, at), P2)), 13), P1)
        at = at + 4
      end
    end
    hash = rol(state[1], 1) + rol(state[2], 7) + rol(state[3], 12) + rol(state[4], 18)
  end
  hash = tobit(hash + #data)
  while #data - at >= 3 do
    hash = times(rol(tobit(hash + times(word(data, at), P3)), 17), P4)
    at = at + 4
  end
  for i = at, #data do hash = times(rol(tobit(hash + string.byte(data, i) * P5), 11), P1) end
  hash = times(bxor(hash, rshift(hash, 15)), P2)
  hash = times(bxor(hash, rshift(hash, 13)), P3)
  return bxor(hash, rshift(hash, 16))
end

-- Refuses bytes that have not the checksum that follows.
local function verify(input, bytes, what)
  if tobit(word(input.take(4))) ~= xxh32(bytes) then refuse(what .. ' has a wrong checksum') end
end

-- Adds what a block has.
local function restore(block, found, is_independent)
  local input, start = use.bytes.reader(block), is_independent and found.size() or 0
  local function length(short)
    local more = short == 15 and 255 or 0
    while more == 255 do
      more = string.byte(input.take(1))
      short = short + more
    end
    return short
  end
  while true do
    local token = string.byte(input.take(1))
    found.add(input.take(length(rshift(token, 4))))
    if input.is_over() then return end
    local distance = struct.unpack('<I2', input.take(2))
    if distance > found.size() - start then refuse('it repeats what is in another block') end
    found.again(distance, length(band(token, 15)) + 4)
  end
end

return function(data)
  local input = use.bytes.reader(data)
  if input.take(4) ~= '\4\34\77\24' then refuse('it is no lz4 frame') end
  local head = input.take(2)
  local flags = string.byte(head)
  if rshift(flags, 6) ~= 1 or band(flags, 3) ~= 0 then refuse('its lz4 frame is of another kind') end
  local size = band(flags, 8) > 0 and input.take(8)
  if string.byte(input.take(1)) ~= band(rshift(xxh32(head .. (size or '')), 8), 255) then
    refuse('the head of its lz4 frame has a wrong checksum')
  end
  local blocks, count = use.bytes.restored(), word(input.take(4))
  while count > 0 do
    local block = input.take(count % 2 ^ 31)
    if band(flags, 16) > 0 then verify(input, block, 'a block') end
    if count >= 2 ^ 31 then blocks.add(block) -- It is not compressed.
    else restore(block, blocks, band(flags, 32) > 0) end
    count = word(input.take(4))
  end
  local found = blocks.whole()
  if band(flags, 4) > 0 then verify(input, found, 'the content') end
  if size and word(size) + word(size, 5) * 2 ^ 32 ~= #found then refuse('the content has another size') end
  input.finish()
  return found
end
