-- Checks the lines of entries.jsonl, and says as TAP what is wrong.
local use = ...
local refuse, text, json = use.bytes.refuse, use.bytes.text, use.json

local SERIALIZERS = {json = json, msgpack = use.msgpack}
local COMPRESSORS = {lz4 = use.lz4, gzip = use.gzip}
-- What a line may have. Another member would be a vector that this runner does not know, and must not pass.
local MEMBERS = {name = true, values = true, entry = true, canonical = true, headers = true, primitive = true, refused = true}

-- What a client reads in an entry: its values and its headers. Refuses what is no entry.
local function read(entry)
  if #entry == 0 or #entry % 2 == 1 then refuse('it has no pair of a field and a value, or half a pair') end
  local codec, payload = entry[1], entry[2]
  local headers, fields = {kind = 'map', value = {}}, {kind = 'map', value = {}}
  for i = 3, #entry, 2 do
    local name, value = string.match(entry[i], '^@(.*)$'), entry[i + 1]
    if name then table.insert(headers.value, {text(name), {kind = 'text', value = text(value)}})
    elseif codec == 'fields' then table.insert(fields.value, {text(entry[i]), {kind = 'text', value = text(value)}}) end
  end
  if codec == 'fields' then
    if payload ~= '1' then refuse('its form of fields is not 1') end
    return fields, headers
  end
  local serializer, compressor = string.match(codec, '^([^+]*)%+?(.*)$')
  if not SERIALIZERS[serializer] then refuse('there is no serializer ' .. serializer) end
  if string.find(codec, '+', 1, true) then
    if not COMPRESSORS[compressor] then refuse('there is no compressor ' .. compressor) end
    payload = COMPRESSORS[compressor](payload)
  end
  return SERIALIZERS[serializer].read(payload), headers
end

local function from_hex(digits)
  return (string.gsub(digits, '%x%x', function(byte) return string.char(tonumber(byte, 16)) end))
end

-- The members of a map by their names.
local function members(map)
  local found = {}
  for _, each in ipairs(map.value) do found[each[1]] = each[2] end
  return found
end

-- A value of a line, with what JSON cannot say in place of {"$int": …} and {"$bytes": …}.
local function untagged(it)
  local found = {}
  if it.kind == 'map' then
    local all = members(it)
    if #it.value == 1 and all['$int'] then return {kind = 'int', value = all['$int'].value} end
    if #it.value == 1 and all['$bytes'] then return {kind = 'bytes', value = from_hex(all['$bytes'].value)} end
    for i, each in ipairs(it.value) do found[i] = {each[1], untagged(each[2])} end
  elseif it.kind == 'list' then
    for i, each in ipairs(it.value) do found[i] = untagged(each) end
  else
    return it
  end
  return {kind = it.kind, value = found}
end

-- Are two values the same? The order of names in a map is of no importance.
local function same(one, other)
  if one.kind ~= other.kind then return false end
  if one.kind ~= 'map' and one.kind ~= 'list' then return one.value == other.value end
  if #one.value ~= #other.value then return false end
  local all = one.kind == 'map' and members(other)
  for i, each in ipairs(one.value) do
    local twin = all and all[each[1]] or not all and other.value[i]
    if not twin or not same(all and each[2] or each, twin) then return false end
  end
  return true
end

-- Returns what is wrong with a line, or nil and why its entry was refused.
local function check(line)
  local entry = {}
  for i, each in ipairs(line.entry.value) do entry[i] = from_hex(each.value) end
  local is_read, found, headers = pcall(read, entry)
  if not is_read and type(found) ~= 'table' then error(found, 0) end
  if line.refused then
    if is_read then return 'it must be refused' end
    return nil, found.refused
  end
  if not is_read then return 'it must be read: ' .. found.refused end
  local values = untagged(line.values)
  if not same(values, found) then return 'it has other values' end
  if not same(line.headers or {kind = 'map', value = {}}, headers) then return 'it has other headers' end
  if line.canonical and line.canonical.value and SERIALIZERS[entry[1]].write(values) ~= entry[2] then
    return 'these values are written with other bytes'
  end
end

-- The results for all lines: `ok` or `not ok`, and behind it what is wrong, or why the entry was refused.
return function(lines)
  local said, number = {}, 0
  for each in string.gmatch(lines, '[^\n]+') do
    number = number + 1
    local name = 'line ' .. number
    local is_done, wrong, refused = pcall(function()
      local line = members(json.read(each))
      name = line.name.value
      for member in pairs(line) do
        if not MEMBERS[member] then return 'nobody knows its member ' .. member end
      end
      return check(line)
    end)
    if not is_done and type(wrong) == 'table' then wrong = 'it cannot be read: ' .. wrong.refused end
    table.insert(said, (wrong and 'not ok ' or 'ok ') .. number .. ' - ' .. name)
    if wrong then table.insert(said, '# entries.jsonl:' .. number .. ': ' .. wrong)
    elseif refused then table.insert(said, '# refused: ' .. refused) end
  end
  table.insert(said, '1..' .. number)
  return said
end
