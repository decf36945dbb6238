#!lua flags=allow-oom
-- delete -- end one partition of a stream with all its events; remove its processors first, and revoke what they held.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  producers  hash    runnel:{APP:SOURCE:N}:STREAM:producers
-- REPLY    deleted    int     number of events
-- ERROR    BADARG     an argument is malformed
-- WRITES   yes
-- BOUND    constant, plus the fields of meta; the events are freed in the background
-- VERSION  1
local log, meta, producers = KEYS[1], KEYS[2], KEYS[3]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> allowed
-- Redis takes nothing back where a user may not run what comes behind the first write: so ask before it. What is refused
-- is called all the same, as nothing is written yet, for the refusal in Redis's own words.
local function must(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 3 or #ARGV ~= 0 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
-- Whatever stands in their place goes too.
local length, stored = redis.pcall('XLEN', log), redis.pcall('HGETALL', meta)
if stored.err then stored = {} end
local deleted, marks = false, {}
for i = 1, #stored, 2 do
  deleted = deleted or stored[i] == 'deleted'
  local name = string.match(stored[i], '^passed:(.+)$') or string.match(stored[i], '^removed:(.+)$')
  if name then
    marks[#marks + 1] = 'removed:' .. name
    marks[#marks + 1] = string.format('%.0f', now)
  end
end
if redis.call('EXISTS', log, producers) == 0 and (deleted or redis.call('EXISTS', meta) == 0) then
  return 0
end

must('UNLINK', meta)
must('HSET', meta, 'deleted', '1')
must('PEXPIRE', meta, '86400000')
redis.call('UNLINK', log, meta, producers)
-- For a day: workers and producers that still run are told so, and make no partition of it anew that the stream, should
-- it be there again, has not.
redis.call('HSET', meta, 'deleted', string.format('%.0f', now), unpack(marks))
redis.call('PEXPIRE', meta, '86400000')
return type(length) == 'number' and length or 0
