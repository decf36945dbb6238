#!lua flags=allow-oom
-- elect -- take, keep or give up the leader lease of an app.
-- KEYS[1]  leader   hash  runnel:{APP}:leader
-- ARGV[1]  member   str   who asks
-- ARGV[2]  nonce    str   random, one for each start of the worker
-- ARGV[3]  session  int   ms the lease lasts without being kept
-- ARGV[4]  action   str   hold or leave
-- REPLY    leading  int   1 if the caller leads
-- REPLY    left     int   ms left of the present lease, 0 if nobody leads
-- ERROR    BADARG   an argument is malformed
-- PUBLISHES runnel:{APP}:wake
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local leader = KEYS[1]
local member, nonce, session, action = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

if #KEYS ~= 1 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif member == '' or nonce == '' then
  return redis.error_reply('BADARG field=' .. (member == '' and 'member' or 'nonce'))
elseif not string.match(ARGV[3], '^%d+$') or session < 100 or session > 86400000 then
  return redis.error_reply('BADARG field=session')
elseif action ~= 'hold' and action ~= 'leave' then
  return redis.error_reply('BADARG field=action')
end
local is = redis.call('HMGET', leader, 'nonce', 'ends', 'session')
-- A clock that went back must not stretch the lease.
local left = math.min((tonumber(is[2]) or 0) - now, tonumber(is[3]) or 0)

if is[1] ~= nonce and left > 0 then
  return {0, left}
elseif action == 'leave' then
  if is[1] == nonce then
    redis.call('DEL', leader)
    -- A hint: whoever waits for the lead need not find out by asking now and then.
    redis.pcall('PUBLISH', (string.gsub(leader, ':leader$', ':wake')), 'leave')
  end
  return {0, 0}
end
redis.call('HSET', leader, 'member', member, 'nonce', nonce, 'session', session,
  'ends', string.format('%.0f', now + session))
return {1, session}
