local function disagreement(key)
  local agreed = redis.call('HMGET', key, 'protocol', 'partitions', 'hash')
  if agreed[1] and agreed[1] ~= protocol and tonumber(agreed[1]) > tonumber(protocol) then
    return 'MISMATCH field=protocol stored=' .. agreed[1] .. ' given=' .. protocol
  elseif agreed[2] and agreed[2] ~= partitions then
    return 'MISMATCH field=partitions stored=' .. agreed[2] .. ' given=' .. partitions
  elseif agreed[3] and agreed[3] ~= hash then
    return 'MISMATCH field=hash stored=' .. agreed[3] .. ' given=' .. hash
  end
  return nil, agreed[1] and agreed[2] and agreed[3]
end
