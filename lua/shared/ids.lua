-- Is id `a` larger than id `b`? The digits are compared as text, because numbers lose precision above 2^53.
local function newer(a, b)
  local a_ms, a_seq = string.match(a, '^0*(%d+)%-0*(%d+)$')
  local b_ms, b_seq = string.match(b, '^0*(%d+)%-0*(%d+)$')
  if a_ms ~= b_ms then
    return #a_ms > #b_ms or (#a_ms == #b_ms and a_ms > b_ms)
  end
  return #a_seq > #b_seq or (#a_seq == #b_seq and a_seq > b_seq)
end
