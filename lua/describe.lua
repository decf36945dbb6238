#!lua flags=no-writes,allow-stale
-- describe -- report one partition, and one processor on it, at one instant.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  processor  str     name of the processor, or empty for the partition alone
-- REPLY    fields     str     name and value in turn: now, length, first, last, added; of the consumer group lag and
--                             last_delivered; next_id (the first event after the checkpoint); each field of meta as
--                             meta.FIELD; each field of state except the nonces, history and
--                             error_traceback; what is unknown is left out
-- ERROR    BADARG     an argument is malformed
-- REPEAT   reads: what holds now
-- WRITES   no
-- BOUND    constant, plus the groups of one stream
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor = ARGV[1]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> table
-- XINFO replies with a flat list of names and values. This makes it a table.
local function to_table(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
-- <<< table

if #KEYS ~= 3 or #ARGV ~= 1 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local reply = {}
local function report(name, value)
  reply[#reply + 1] = name
  reply[#reply + 1] = type(value) == 'number' and string.format('%.0f', value) or value
end
report('now', now)
report('length', redis.call('XLEN', log))
local fields = redis.call('HGETALL', meta)
for i = 1, #fields, 2 do report('meta.' .. fields[i], fields[i + 1]) end
local checkpoint
fields = redis.call('HGETALL', state)
for i = 1, #fields, 2 do
  if fields[i] == 'checkpoint' then checkpoint = fields[i + 1] end
  local left_out = fields[i] == 'nonce' or fields[i] == 'history' or fields[i] == 'error_traceback' or string.match(fields[i], '^last_')
  if not left_out then report(fields[i], fields[i + 1]) end
end
if redis.call('EXISTS', log) == 1 then
  local info = to_table(redis.call('XINFO', 'STREAM', log))
  if info['entries-added'] then report('added', info['entries-added']) end
  report('last', info['last-generated-id'])
  if info['first-entry'] then report('first', info['first-entry'][1]) end
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local group = to_table(each)
    if group.name == processor then
      if group.lag then report('lag', group.lag) end
      report('last_delivered', group['last-delivered-id'])
    end
  end
  local next_entry = checkpoint and redis.call('XRANGE', log, '(' .. checkpoint, '+', 'COUNT', 1)[1]
  if next_entry then report('next_id', next_entry[1]) end
end
return reply
