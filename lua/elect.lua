#!lua flags=allow-oom
-- elect -- take, renew or release the leader lease of an app.
-- KEYS[1]  leader   hash  runnel:{APP}:leader
-- ARGV[1]  member   str   id of the caller
-- ARGV[2]  nonce    str   random, one for each start of the worker
-- ARGV[3]  session_timeout int ms that the lease lasts if it is not renewed
-- ARGV[4]  action   str   hold or leave
-- REPLY    leading  int   1 if the caller leads
-- REPLY    left     int   ms left of the current lease, 0 if nobody leads
-- ERROR    BADARG   an argument is malformed
-- PUBLISHES runnel:{APP}:wake
-- REPEAT   harmless: hold renews the lease again, leave replies with 0
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local leader = KEYS[1]
local member, nonce, session_timeout, action = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

if #KEYS ~= 1 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif member == '' or nonce == '' then
  return redis.error_reply('BADARG field=' .. (member == '' and 'member' or 'nonce'))
elseif not string.match(ARGV[3], '^%d+$') or session_timeout < 100 or session_timeout > 86400000 then
  return redis.error_reply('BADARG field=session_timeout')
elseif action ~= 'hold' and action ~= 'leave' then
  return redis.error_reply('BADARG field=action')
end
local stored_nonce, ends, stored_timeout = unpack(redis.call('HMGET', leader, 'nonce', 'ends', 'session_timeout'))
-- A clock that went back must not extend the lease.
local left = math.min((tonumber(ends) or 0) - now, tonumber(stored_timeout) or 0)

if stored_nonce ~= nonce and left > 0 then
  return {0, left}
elseif action == 'leave' then
  if stored_nonce == nonce then
    redis.call('DEL', leader)
    -- A hint, so that other members need not poll to learn it.
    redis.pcall('PUBLISH', (string.gsub(leader, ':leader$', ':wake')), 'leave')
  end
  return {0, 0}
end
redis.call('HSET', leader, 'member', member, 'nonce', nonce, 'session_timeout', session_timeout,
  'ends', string.format('%.0f', now + session_timeout))
return {1, session_timeout}
