local max_age = nil
if not size then size, max_age = read_limits(ARGV[4]) end
if not string.find(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.find(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
elseif not size or size < 2 or (not max_age and (not string.find(ARGV[4], '^%d+$') or #ARGV[4] > 15)) then
  return redis.error_reply('BADARG field=size')
elseif when_full ~= 'refuse' and when_full ~= 'drop_unread' and when_full ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=when_full')
end
