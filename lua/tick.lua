#!lua flags=allow-oom
-- tick -- may this instant of a cron task run now? At most one caller gets yes.
-- KEYS[1]  ticks    hash  runnel:{APP}:ticks
-- ARGV[1]  task     str   name of the task
-- ARGV[2]  instant  int   the scheduled instant, ms since the epoch; 0 runs nothing and only records the schedule
-- ARGV[3]  nonce    str   random, one for each start of a worker: a caller whose reply was lost repeats the call and gets yes again
-- ARGV[4]  schedule str   cron expression and zone, at most 200 bytes; no instant before it was recorded may run
-- REPLY    fire     int   1 yes, 0 no: fired already, or a later instant was, 2 not due yet by the server's clock
-- REPLY    wait     int   ms until it is due, 0 if it is
-- ERROR    BADARG   an argument is malformed or over a limit
-- REPEAT   recognised by instant, nonce: 1 again, while it is the last instant that ran
-- WRITES   yes
-- BOUND    1000 tasks
-- VERSION  1
local ticks = KEYS[1]
local task, instant, nonce, schedule = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

if #KEYS ~= 1 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif task == '' or not string.match(nonce, '^[%w_-]+$') then
  return redis.error_reply('BADARG field=' .. (task == '' and 'task' or 'nonce'))
elseif instant ~= '0' and (not string.match(instant, '^[1-9]%d*$') or #instant > 15) then
  return redis.error_reply('BADARG field=instant')
elseif schedule == '' or #schedule > 200 then
  return redis.error_reply('BADARG field=schedule')
end
local stored = redis.call('HGET', ticks, task)
if not stored and redis.call('HLEN', ticks) >= 1000 then
  return redis.error_reply('BADARG field=task limit=1000')
elseif tonumber(instant) > now then
  return {2, tonumber(instant) - now}
end
local fired, fired_by, stored_schedule = string.match(stored or '0 . ', '^(%d+) (%S+) ?(.*)$')
if instant == '0' then
  if stored_schedule ~= schedule then
    local since = string.format('%.0f', math.max(tonumber(fired), now))
    redis.call('HSET', ticks, task, since .. ' . ' .. schedule)
  end
  return {0, 0}
elseif tonumber(fired) >= tonumber(instant) then
  return {fired == instant and fired_by == nonce and 1 or 0, 0}
end

redis.call('HSET', ticks, task, instant .. ' ' .. nonce .. ' ' .. schedule)
return {1, 0}
