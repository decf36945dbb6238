#!lua flags=allow-oom
-- tick -- may this scheduled instant of a cron task fire? At most one caller is told yes.
-- KEYS[1]  ticks    hash  runnel:{APP}:ticks
-- ARGV[1]  task     str   name of the task
-- ARGV[2]  instant  int   the scheduled instant, ms since the epoch
-- ARGV[3]  nonce    str   random, one for each attempt, so that a lost reply may be asked for again
-- REPLY    fire     int   1 yes, 0 no: fired already or overtaken, 2 not due yet by the server's clock
-- REPLY    wait     int   ms until it is due, 0 if it is
-- ERROR    BADARG   an argument is malformed or over a limit
-- WRITES   yes
-- BOUND    1000 tasks
-- VERSION  1
local ticks = KEYS[1]
local task, instant, nonce = ARGV[1], ARGV[2], ARGV[3]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

if #KEYS ~= 1 or #ARGV ~= 3 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif task == '' or not string.match(nonce, '^[%w_-]+$') then
  return redis.error_reply('BADARG field=' .. (task == '' and 'task' or 'nonce'))
elseif not string.match(instant, '^[1-9]%d*$') or #instant > 15 then
  return redis.error_reply('BADARG field=instant')
end
local last = redis.call('HGET', ticks, task)
if not last and redis.call('HLEN', ticks) >= 1000 then
  return redis.error_reply('BADARG field=task limit=1000')
elseif tonumber(instant) > now then
  return {2, tonumber(instant) - now}
end
local fired, by = string.match(last or '0 -', '^(%d+) (%S+)$')
if tonumber(fired) >= tonumber(instant) then
  return {fired == instant and by == nonce and 1 or 0, 0}
end

redis.call('HSET', ticks, task, instant .. ' ' .. nonce)
return {1, 0}
