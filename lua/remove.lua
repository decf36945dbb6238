#!lua flags=allow-oom
-- remove -- end a processor's registration on one partition: its consumer group, its state, its hold on retention.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- REPLY    removed    int     1 if it was registered, else 0
-- ERROR    BADARG     an argument is malformed
-- WRITES   yes
-- BOUND    constant, plus the fields of meta
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor = ARGV[1]

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

if #KEYS ~= 3 or #ARGV ~= 1 or processor == '' then
  return redis.error_reply('BADARG field=processor')
end
local there, removed = redis.call('EXISTS', log), redis.call('HEXISTS', meta, 'passed:' .. processor)
-- A mark tells a worker that still runs that this was meant, and no loss of keys to be mended. It has heard of it by its
-- next claim: the marks of a day will do, and no more than 100 of them.
local marks, old = {}, {}
local stored = removed == 1 and redis.call('HGETALL', meta) or {}
for i = 1, #stored, 2 do
  if string.match(stored[i], '^removed:') then
    marks[#marks + 1] = {tonumber(string.match(stored[i + 1], '^%d+$')) or 0, stored[i]}
  end
end
table.sort(marks, function(a, b) return a[1] > b[1] end)
for i, mark in ipairs(marks) do
  if i > 99 or mark[1] < now - 86400000 then old[#old + 1] = mark[2] end
end

must('DEL', state)
must('HDEL', meta, 'passed:')
must('HSET', meta, 'removed:', '1')
if there == 1 then redis.call('XGROUP', 'DESTROY', log, processor) end
redis.call('DEL', state)
redis.call('HDEL', meta, 'passed:' .. processor, 'dropped:' .. processor)
if old[1] then redis.call('HDEL', meta, unpack(old)) end
if removed == 1 then redis.call('HSET', meta, 'removed:' .. processor, string.format('%.0f', now)) end
return removed
