-- Restores what gzip has compressed: one member, whose checksum and size are right.
local use = ...
local refuse = use.bytes.refuse

local function crc32(data)
  local found = bit.bnot(0)
  for i = 1, #data do
    found = bit.bxor(found, string.byte(data, i))
    for _ = 1, 8 do
      local lowest = bit.band(found, 1)
      found = bit.bxor(bit.rshift(found, 1), lowest * 0xedb88320)
    end
  end
  return bit.bnot(found)
end

-- A Huffman code: how many codes there are of each length, and the symbols in the order of their codes.
local function code_of(lengths)
  local counts, symbols = {}, {}
  for length = 1, 15 do
    counts[length] = 0
    for symbol = 0, #lengths - 1 do
      if lengths[symbol + 1] == length then
        counts[length] = counts[length] + 1
        symbols[#symbols + 1] = symbol
      end
    end
  end
  return {counts = counts, symbols = symbols}
end

-- Lengths 3 to 258, and distances from 1: of each symbol the least one, and how many bits are added to it.
local LENGTHS, DISTANCES = {}, {}
for symbol = 0, 27 do
  local bits = math.max(0, math.floor(symbol / 4) - 1)
  LENGTHS[symbol] = {bits == 0 and symbol + 3 or (4 + symbol % 4) * 2 ^ bits + 3, bits}
end
LENGTHS[28] = {258, 0}
for symbol = 0, 29 do
  local bits = math.max(0, math.floor(symbol / 2) - 1)
  DISTANCES[symbol] = {bits == 0 and symbol + 1 or (2 + symbol % 2) * 2 ^ bits + 1, bits}
end

local FIXED = {lengths = {}, distances = {}}
for symbol = 0, 287 do
  FIXED.lengths[symbol + 1] = symbol < 144 and 8 or symbol < 256 and 9 or symbol < 280 and 7 or 8
end
for symbol = 0, 29 do FIXED.distances[symbol + 1] = 5 end

-- The order in which a block has the lengths of the code of lengths.
local ORDER = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
-- Symbols that stand for a row of lengths: the bits of how many, and the least number.
local ROWS = {[16] = {2, 3}, [17] = {3, 3}, [18] = {7, 11}}

-- The content. Nothing behind it is taken from the input.
local function inflated(input)
  local held, held_bits, found = 0, 0, use.bytes.restored()

  local function bits(count)
    while held_bits < count do
      held, held_bits = held + string.byte(input.take(1)) * 2 ^ held_bits, held_bits + 8
    end
    local taken = held % 2 ^ count
    held, held_bits = math.floor(held / 2 ^ count), held_bits - count
    return taken
  end

  local function symbol(code)
    local value, first, place = 0, 0, 0
    for length = 1, 15 do
      value = value * 2 + bits(1)
      first = first * 2
      local count = code.counts[length]
      if value - first < count then return code.symbols[place + value - first + 1] end
      first, place = first + count, place + count
    end
    refuse('a code is none')
  end

  local function codes_of_block()
    local lengths, distances, of_lengths, all = bits(5) + 257, bits(5) + 1, {}, {}
    for i = 1, #ORDER do of_lengths[i] = 0 end
    for i = 1, bits(4) + 4 do of_lengths[ORDER[i] + 1] = bits(3) end
    local code = code_of(of_lengths)
    while #all < lengths + distances do
      local found_length, count = symbol(code), 1
      if ROWS[found_length] then
        count = bits(ROWS[found_length][1]) + ROWS[found_length][2]
        found_length = found_length > 16 and 0 or all[#all] or refuse('a code has no first length')
      end
      for _ = 1, count do all[#all + 1] = found_length end
    end
    return code_of({unpack(all, 1, lengths)}), code_of({unpack(all, lengths + 1, lengths + distances)})
  end

  local function stored()
    held, held_bits = 0, 0
    local size, inverted = struct.unpack('<I2I2', input.take(4))
    if size + inverted ~= 0xffff then refuse('a block has two sizes') end
    found.add(input.take(size))
  end

  local function more_of(row)
    if not row then refuse('a code is none') end
    return row[1] + bits(row[2])
  end

  local function compressed(lengths, distances)
    while true do
      local at = symbol(lengths)
      if at == 256 then return end
      if at < 256 then found.add(string.char(at))
      else
        local count = more_of(LENGTHS[at - 257])
        found.again(more_of(DISTANCES[symbol(distances)]), count)
      end
    end
  end

  repeat
    local is_last, kind = bits(1) == 1, bits(2)
    if kind == 0 then stored()
    elseif kind == 1 then compressed(code_of(FIXED.lengths), code_of(FIXED.distances))
    elseif kind == 2 then compressed(codes_of_block())
    else refuse('a block is of an unknown kind') end
  until is_last
  return found.whole()
end

return function(data)
  local input = use.bytes.reader(data)
  if input.take(3) ~= '\31\139\8' then refuse('it is no gzip') end
  local flags = string.byte(input.take(1))
  input.take(6)
  if flags > 31 then refuse('its gzip is of another kind') end
  if bit.band(flags, 4) > 0 then input.take(struct.unpack('<I2', input.take(2))) end
  for _, name in ipairs({8, 16}) do -- A file name and a comment, each with a zero at its end.
    while bit.band(flags, name) > 0 and input.take(1) ~= '\0' do end
  end
  if bit.band(flags, 2) > 0 then input.take(2) end
  local found = inflated(input)
  local checksum, size = struct.unpack('<I4I4', input.take(8))
  if bit.tobit(checksum) ~= crc32(found) then refuse('the content has a wrong checksum') end
  if size ~= #found % 2 ^ 32 then refuse('the content has another size') end
  input.finish()
  return found
end
