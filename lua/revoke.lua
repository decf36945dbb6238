#!lua flags=allow-oom
-- revoke -- withdraw the grants of partitions, so that their owners claim them again: after seek, pause, resume, remove, delete.
-- KEYS[1]  plan        hash  runnel:{APP:STREAM@PROCESSOR}:plan
-- ARGV[1+] partitions  int   1 to 1000 partition numbers
-- REPLY    revoked     int   number of grants withdrawn; a partition that is moving to another member keeps its grant, because
--                            that member claims it anyway once its owner has finished the current event
-- ERROR    BADARG      an argument is malformed or over a limit
-- REPEAT   harmless: 0, unless grants were made since, which are withdrawn, too
-- WRITES   yes
-- PUBLISHES runnel:{APP:STREAM@PROCESSOR}:wake
-- BOUND    1000 partitions
-- VERSION  1
local plan = KEYS[1]

if #KEYS ~= 1 or #ARGV < 1 or #ARGV > 1000 then
  return redis.error_reply('BADARG field=partitions limit=1000')
end
for i = 1, #ARGV do
  if not string.match(ARGV[i], '^%d+$') or #ARGV[i] > 15 then return redis.error_reply('BADARG field=partitions at=' .. i) end
end

local revoked = 0
for i = 1, #ARGV do
  local record = redis.call('HGET', plan, 'p:' .. ARGV[i])
  local owner, target, grant = string.match(record or '', '^(%S+) (%S+) (%d+)')
  if owner and owner ~= '-' and owner == target then
    redis.call('HSET', plan, 'p:' .. ARGV[i], '- ' .. target .. ' ' .. grant .. ' 0')
    revoked = revoked + 1
  end
end
if revoked > 0 then
  -- The next sync of any member finds the plan due and grants these partitions. The message makes that sooner: a hint only.
  redis.call('HSET', plan, 'due', '1')
  redis.pcall('PUBLISH', (string.gsub(plan, ':plan$', ':wake')), 'revoke')
end
return revoked
