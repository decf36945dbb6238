-- Reads and writes msgpack. Values are as in json.lua, so integers of 64 bits are exact: Lua has only floating-point numbers.
-- `cmsgpack` of Redis would read text and bytes alike, and round integers beyond 2^53.
local use = ...
local refuse, text = use.bytes.refuse, use.bytes.text

-- The digits of a number in another base, the highest first; without zeros before them.
local function rebased(digits, from, to)
  local found = {} -- The lowest first.
  for _, carry in ipairs(digits) do
    for i = 1, #found do
      carry = found[i] * from + carry
      found[i], carry = carry % to, math.floor(carry / to)
    end
    while carry > 0 do
      found[#found + 1], carry = carry % to, math.floor(carry / to)
    end
  end
  local reversed = {}
  for i = #found, 1, -1 do reversed[#reversed + 1] = found[i] end
  return reversed
end

-- Minus a number of so many bytes, in two's complement.
local function negated(bytes)
  local found, carry = {}, 1
  for i = #bytes, 1, -1 do
    local byte = 255 - bytes[i] + carry
    found[i], carry = byte % 256, math.floor(byte / 256)
  end
  return found
end

-- The decimal digits of an integer.
local function decimal(data, is_signed)
  local bytes, sign = {string.byte(data, 1, -1)}, ''
  if is_signed and bytes[1] > 127 then bytes, sign = negated(bytes), '-' end
  local digits = table.concat(rebased(bytes, 256, 10))
  return digits == '' and '0' or sign .. digits
end

local FLOATS = {[0xca] = {'>f', 4}, [0xcb] = {'>d', 8}}
-- For a first byte: how many bytes of a length follow it.
local TEXTS, BYTES = {[0xd9] = 1, [0xda] = 2, [0xdb] = 4}, {[0xc4] = 1, [0xc5] = 2, [0xc6] = 4}
local LISTS, MAPS = {[0xdc] = 2, [0xdd] = 4}, {[0xde] = 2, [0xdf] = 4}

local function read(data)
  local input = use.bytes.reader(data)
  local value

  local function unsigned(size)
    local found = 0
    for _, byte in ipairs({string.byte(input.take(size), 1, -1)}) do found = found * 256 + byte end
    return found
  end

  local function list(count)
    local found = {}
    for i = 1, count do found[i] = value() end
    return {kind = 'list', value = found}
  end

  local function map(count)
    local found = {}
    for i = 1, count do
      local name = value()
      if name.kind ~= 'text' then refuse('a name in a map is no text') end
      found[i] = {name.value, value()}
    end
    return {kind = 'map', value = found}
  end

  local function read_text(count) return {kind = 'text', value = text(input.take(count))} end

  function value()
    local tag = unsigned(1)
    if tag < 0x80 then return {kind = 'int', value = tostring(tag)} end
    if tag < 0x90 then return map(tag - 0x80) end
    if tag < 0xa0 then return list(tag - 0x90) end
    if tag < 0xc0 then return read_text(tag - 0xa0) end
    if tag == 0xc0 then return {kind = 'null'} end
    if tag == 0xc2 or tag == 0xc3 then return {kind = 'bool', value = tag == 0xc3} end
    if FLOATS[tag] then return {kind = 'float', value = struct.unpack(FLOATS[tag][1], input.take(FLOATS[tag][2]))} end
    if tag >= 0xcc and tag <= 0xcf then return {kind = 'int', value = decimal(input.take(2 ^ (tag - 0xcc)), false)} end
    if tag >= 0xd0 and tag <= 0xd3 then return {kind = 'int', value = decimal(input.take(2 ^ (tag - 0xd0)), true)} end
    if BYTES[tag] then return {kind = 'bytes', value = input.take(unsigned(BYTES[tag]))} end
    if TEXTS[tag] then return read_text(unsigned(TEXTS[tag])) end
    if LISTS[tag] then return list(unsigned(LISTS[tag])) end
    if MAPS[tag] then return map(unsigned(MAPS[tag])) end
    if tag >= 0xe0 then return {kind = 'int', value = tostring(tag - 256)} end
    refuse(string.format('it has the type 0x%02x', tag))
  end

  local found = value()
  input.finish()
  return found
end

-- Forms of integers: from or up to which number, the first byte, and the size. The first one that fits is the canonical one.
local NEGATIVE = {{-2 ^ 5, '', 1}, {-2 ^ 7, '\208', 1}, {-2 ^ 15, '\209', 2}, {-2 ^ 31, '\210', 4}, {-2 ^ 63, '\211', 8}}
local POSITIVE = {{2 ^ 7, '', 1}, {2 ^ 8, '\204', 1}, {2 ^ 16, '\205', 2}, {2 ^ 32, '\206', 4}, {math.huge, '\207', 8}}

local function integer(value)
  local digits, number, is_negative = {}, tonumber(value), string.sub(value, 1, 1) == '-'
  for digit in string.gmatch(value, '%d') do digits[#digits + 1] = tonumber(digit) end
  local bytes = rebased(digits, 10, 256)
  while #bytes < 8 do table.insert(bytes, 1, 0) end
  if is_negative then bytes = negated(bytes) end
  for _, form in ipairs(is_negative and NEGATIVE or POSITIVE) do
    local limit, tag, size = unpack(form)
    if #bytes == 8 and (is_negative and number >= limit or not is_negative and number < limit) then
      return tag .. string.char(unpack(bytes, 9 - size))
    end
  end
  refuse('an integer has more than 64 bits: ' .. value)
end

-- The first bytes of what has a length: `short` with the length in it if that is less than `most`. Else the first of `forms`
-- in which it has room: the size of the length, and the first byte.
local function head(count, short, most, forms)
  if count < most then return string.char(short + count) end
  for _, form in ipairs(forms) do
    local size, tag = unpack(form)
    if count < 256 ^ size then return string.char(tag) .. struct.pack('>I' .. size, count) end
  end
end

-- The canonical form: of each value the shortest one, and floats with 8 bytes.
local function write(it)
  local parts = {}
  if it.kind == 'null' then return '\192' end
  if it.kind == 'bool' then return it.value and '\195' or '\194' end
  if it.kind == 'int' then return integer(it.value) end
  if it.kind == 'float' then return '\203' .. struct.pack('>d', it.value) end
  if it.kind == 'text' then return head(#it.value, 0xa0, 32, {{1, 0xd9}, {2, 0xda}, {4, 0xdb}}) .. it.value end
  if it.kind == 'bytes' then return head(#it.value, 0, 0, {{1, 0xc4}, {2, 0xc5}, {4, 0xc6}}) .. it.value end
  if it.kind == 'list' then
    for i, each in ipairs(it.value) do parts[i] = write(each) end
    return head(#parts, 0x90, 16, {{2, 0xdc}, {4, 0xdd}}) .. table.concat(parts)
  end
  for i, each in ipairs(it.value) do parts[i] = write({kind = 'text', value = each[1]}) .. write(each[2]) end
  return head(#parts, 0x80, 16, {{2, 0xde}, {4, 0xdf}}) .. table.concat(parts)
end

return {read = read, write = write}
