#!lua flags=no-writes,allow-stale
-- describe_group -- report a processor's group at one instant: its members and the owners of its partitions.
-- KEYS[1]  plan        hash  runnel:{APP:STREAM@PROCESSOR}:plan
-- KEYS[2]  members     hash  runnel:{APP:STREAM@PROCESSOR}:members
-- KEYS[3]  sessions    zset  runnel:{APP:STREAM@PROCESSOR}:sessions
-- REPLY    now         int   server time in ms
-- REPLY    generation  int   of the assignments
-- REPLY    session_timeout int ms, the group's
-- REPLY    count       int   number of members
-- REPLY    members     str   for each member: id, ms left of its session (negative if ended), call number, joined at ms, stay
--                            or retire, description
-- REPLY    grants      str   for each partition: number, owner, target, grant; - for nobody
-- ERROR    BADARG      an argument is malformed
-- REPEAT   reads: what holds now
-- WRITES   no
-- BOUND    1000 members, 10000 partitions
-- VERSION  1
local plan, members, sessions = KEYS[1], KEYS[2], KEYS[3]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

if #KEYS ~= 3 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local generation, session_timeout, longest_session = unpack(redis.call('HMGET', plan,
  'generation', 'session_timeout', 'longest_session'))
local scores = redis.call('ZRANGE', sessions, 0, -1, 'WITHSCORES')
local reply = {now, tonumber(generation) or 0, tonumber(session_timeout) or 0, #scores / 2}
for i = 1, #scores, 2 do
  local left = math.min(scores[i + 1] - now, tonumber(longest_session) or 0)
  local record = redis.call('HGET', members, scores[i]) or ''
  local call, joined, action, description = string.match(record, '^%S+ %S+ (%d+) (%d+) (%S+) (.*)$')
  for _, value in ipairs({scores[i], string.format('%.0f', left), call or '0', joined or '0', action or '-', description or ''}) do
    reply[#reply + 1] = value
  end
end
local fields = redis.call('HGETALL', plan)
for i = 1, #fields, 2 do
  local number = string.match(fields[i], '^p:(%d+)$')
  if number then
    local owner, target, grant = string.match(fields[i + 1], '^(%S+) (%S+) (%d+)')
    for _, value in ipairs({number, owner, target, grant}) do reply[#reply + 1] = value end
  end
end
return reply
