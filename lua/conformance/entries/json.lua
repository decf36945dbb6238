-- Reads and writes JSON, in UTF-8. A value is a table {kind = …, value = …}: `null`, `bool`, `int` with its decimal digits,
-- `float`, `text`, `bytes`, `list` of values, or `map` of pairs of a name and a value, in their order.
local use = ...
local refuse, text = use.bytes.refuse, use.bytes.text

local SHORT = {['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t'}
local WORDS = {
  ['true'] = {kind = 'bool', value = true},
  ['false'] = {kind = 'bool', value = false},
  ['null'] = {kind = 'null'},
}

-- The UTF-8 of a code point.
local function character(point)
  if point < 0x80 then return string.char(point) end
  local bytes, first = '', 0x80
  repeat
    bytes = string.char(0x80 + point % 64) .. bytes
    point, first = math.floor(point / 64), first / 2 + 0x80
  until point < (0x100 - first) / 2
  return string.char(first + point) .. bytes
end

local function number(token)
  local whole, rest = string.match(token, '^%-?(%d+)(.*)$')
  if not whole or string.find(whole, '^0%d') then refuse('no number: ' .. token) end
  if rest == '' then return {kind = 'int', value = token == '-0' and '0' or token} end
  local fraction, exponent = string.match(rest, '^(%.?%d*)(.*)$')
  if fraction == '.' or not (exponent == '' or string.find(exponent, '^[eE][+-]?%d+$')) then refuse('no number: ' .. token) end
  local value = tonumber(token)
  if math.abs(value) == math.huge then refuse('a number is too large: ' .. token) end
  return {kind = 'float', value = value}
end

local function read(data)
  text(data)
  local at, value = 1, nil

  local function skip() at = string.find(data, '[^ \t\r\n]', at) or #data + 1 end

  local function is_next(mark)
    skip()
    local found = string.sub(data, at, at) == mark
    if found then at = at + 1 end
    return found
  end

  local function expect(mark)
    if not is_next(mark) then refuse('there is no ' .. mark .. ' at byte ' .. at) end
  end

  local function unit() -- One of UTF-16.
    local digits = string.match(data, '^%x%x%x%x', at)
    if not digits then refuse('no escape: \\u') end
    at = at + 4
    return tonumber(digits, 16)
  end

  local function escaped()
    local mark = string.sub(data, at, at)
    at = at + 1
    if mark ~= 'u' then return SHORT[mark] or refuse('no escape: \\' .. mark) end
    local high = unit()
    if high < 0xd800 or high > 0xdfff then return character(high) end
    if high > 0xdbff or string.sub(data, at, at + 1) ~= '\\u' then refuse('half of a surrogate pair') end
    at = at + 2
    local low = unit()
    if low < 0xdc00 or low > 0xdfff then refuse('half of a surrogate pair') end
    return character(0x10000 + (high - 0xd800) * 0x400 + low - 0xdc00)
  end

  local function quoted() -- What stands behind a quotation mark, up to the next one.
    local parts = {}
    while true do
      local plain = string.match(data, '^[^%z\1-\31"\\]*', at)
      at = at + #plain + 1
      parts[#parts + 1] = plain
      local mark = string.sub(data, at - 1, at - 1)
      if mark == '"' then return table.concat(parts) end
      if mark ~= '\\' then refuse('a text has no end, or a control character') end
      parts[#parts + 1] = escaped()
    end
  end

  local function pair()
    expect('"')
    local name = quoted()
    expect(':')
    return {name, value()}
  end

  local function all(item, last)
    local found = {}
    if is_next(last) then return found end
    repeat found[#found + 1] = item() until not is_next(',')
    expect(last)
    return found
  end

  function value()
    if is_next('{') then return {kind = 'map', value = all(pair, '}')} end
    if is_next('[') then return {kind = 'list', value = all(value, ']')} end
    if is_next('"') then return {kind = 'text', value = quoted()} end
    local token = string.match(data, '^[%w.+-]+', at) or refuse('there is no value at byte ' .. at)
    at = at + #token
    return WORDS[token] or number(token)
  end

  local found = value()
  skip()
  if at <= #data then refuse('there are bytes behind its end') end
  return found
end

local ESCAPES = {['"'] = '\\"', ['\\'] = '\\\\', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t'}

local function quote(plain)
  return '"' .. string.gsub(plain, '[%z\1-\31"\\]', function(mark)
    return ESCAPES[mark] or string.format('\\u%04x', string.byte(mark))
  end) .. '"'
end

-- The canonical form. Floats have none: clients write 1e-07 and 1e-7.
local function write(it)
  local parts = {}
  if it.kind == 'null' then return 'null' end
  if it.kind == 'bool' then return tostring(it.value) end
  if it.kind == 'int' then return it.value end
  if it.kind == 'text' then return quote(it.value) end
  if it.kind == 'list' then
    for i, each in ipairs(it.value) do parts[i] = write(each) end
    return '[' .. table.concat(parts, ',') .. ']'
  end
  if it.kind == 'map' then
    for i, each in ipairs(it.value) do parts[i] = quote(each[1]) .. ':' .. write(each[2]) end
    return '{' .. table.concat(parts, ',') .. '}'
  end
  refuse('there is no canonical JSON for ' .. it.kind)
end

return {read = read, write = write}
