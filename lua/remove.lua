#!lua flags=allow-oom
-- remove -- end a processor's registration on one partition: its consumer group, its state, its hold on retention.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- REPLY    removed    int     1 if it was registered, else 0
-- ERROR    BADARG     an argument is malformed
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor = ARGV[1]

if #KEYS ~= 3 or #ARGV ~= 1 or processor == '' then
  return redis.error_reply('BADARG field=processor')
end
local there, removed = redis.call('EXISTS', log), redis.call('HEXISTS', meta, 'passed:' .. processor)

if there == 1 then redis.call('XGROUP', 'DESTROY', log, processor) end
redis.call('DEL', state)
redis.call('HDEL', meta, 'passed:' .. processor, 'dropped:' .. processor)
-- Tells a worker that still runs that this was meant, and no loss of keys to be mended.
if removed == 1 then redis.call('HSET', meta, 'removed:' .. processor, '1') end
return removed
