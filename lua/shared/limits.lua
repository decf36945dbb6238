-- Reads a size that has an age in ms behind a comma. Returns both, or nothing if it is malformed.
local function read_limits(text)
  local most, age = string.match(text or '', '^(%d+),([1-9]%d*)$')
  if most and #most <= 15 and #age <= 15 then return tonumber(most), tonumber(age) end
end
