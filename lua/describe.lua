#!lua flags=no-writes,allow-stale
-- describe -- the picture of one partition and one processor on it at one instant, for inspect.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  processor  str     name of the processor, or empty for the partition alone
-- REPLY    fields     str     name and value in turn: now, length, first, last, added, lag (of the consumer group),
--                             pending (id of the first unfinished event), each field of meta as meta.FIELD,
--                             each of state as it is, but for the nonces; what is unknown is left out
-- ERROR    BADARG     an argument is malformed
-- WRITES   no
-- BOUND    constant, plus the groups of one stream
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor = ARGV[1]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> named
-- XINFO answers with names and values in turn: the same as a table.
local function named(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
-- <<< named

if #KEYS ~= 3 or #ARGV ~= 1 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local reply = {}
local function say(name, value)
  reply[#reply + 1] = name
  reply[#reply + 1] = type(value) == 'number' and string.format('%.0f', value) or value
end
say('now', now)
say('length', redis.call('XLEN', log))
local agreed = redis.call('HGETALL', meta)
for i = 1, #agreed, 2 do say('meta.' .. agreed[i], agreed[i + 1]) end
local is, checkpoint = redis.call('HGETALL', state), nil
for i = 1, #is, 2 do
  if is[i] == 'checkpoint' then checkpoint = is[i + 1] end
  if is[i] ~= 'nonce' and is[i] ~= 'sought' then say(is[i], is[i + 1]) end
end
if redis.call('EXISTS', log) == 1 then
  local info = named(redis.call('XINFO', 'STREAM', log))
  if info['entries-added'] then say('added', info['entries-added']) end
  say('last', info['last-generated-id'])
  if info['first-entry'] then say('first', info['first-entry'][1]) end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local at = named(group)
    if at.name == processor then
      if at.lag then say('lag', at.lag) end
      say('shown', at['last-delivered-id'])
    end
  end
  local pending = checkpoint and redis.call('XRANGE', log, '(' .. checkpoint, '+', 'COUNT', 1)[1]
  if pending then say('pending', pending[1]) end
end
return reply
