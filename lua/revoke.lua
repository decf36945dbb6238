#!lua flags=allow-oom
-- revoke -- take partitions back into the group's hands, so that who holds them claims them anew: after seek, pause, resume.
-- KEYS[1]  plan        hash  runnel:{APP:STREAM@PROCESSOR}:plan
-- ARGV[1+] partitions  int   1 to 1000 partition numbers
-- REPLY    revokeed   int   how many of them were held by one who is to go on holding them; what is being handed over is
--                            claimed anew in any case, once its holder has finished the event in hand
-- ERROR    BADARG      an argument is malformed or over a limit
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

local revokeed = 0
for i = 1, #ARGV do
  local record = redis.call('HGET', plan, 'p:' .. ARGV[i])
  local holder, target, grant = string.match(record or '', '^(%S+) (%S+) (%d+)')
  if holder and holder ~= '-' and holder == target then
    redis.call('HSET', plan, 'p:' .. ARGV[i], '- ' .. target .. ' ' .. grant .. ' 0')
    revokeed = revokeed + 1
  end
end
if revokeed > 0 then
  -- Whoever calls sync next finds the plan due and grants what is free. That it be soon is only a hint.
  redis.call('HSET', plan, 'due', '1')
  redis.pcall('PUBLISH', (string.gsub(plan, ':plan$', ':wake')), 'revoke')
end
return revokeed
