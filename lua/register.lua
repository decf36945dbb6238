#!lua flags=allow-oom
-- register -- make a partition ready for a processor: what all clients agree on, its checkpoint, its consumer group.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state       hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream, 1 to 10000
-- ARGV[3]  hash        str     name of the hash from key bytes to partition
-- ARGV[4]  processor   str     name of the processor and of its consumer group
-- ARGV[5]  start       str     where a new processor starts: 0 (all that is there) or $ (what comes from now on)
-- REPLY    created     int     1 newly registered, 0 was registered, 2 was registered and its lost keys were mended
-- REPLY    checkpoint  id      where the processor stands
-- ERROR    BADARG      an argument is malformed or over a limit; registered=NUMBER if 100 processors are registered
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- WRITES   yes
-- BOUND    constant, plus the groups of one stream, the fields of meta, 1001 entries looked at on each side
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, processor, start = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- >>> agreement
local function disagreement(key)
  local agreed = redis.call('HMGET', key, 'protocol', 'partitions', 'hash')
  if agreed[1] and agreed[1] ~= protocol and tonumber(agreed[1]) > tonumber(protocol) then
    return 'MISMATCH field=protocol stored=' .. agreed[1] .. ' given=' .. protocol
  elseif agreed[2] and agreed[2] ~= partitions then
    return 'MISMATCH field=partitions stored=' .. agreed[2] .. ' given=' .. partitions
  elseif agreed[3] and agreed[3] ~= hash then
    return 'MISMATCH field=hash stored=' .. agreed[3] .. ' given=' .. hash
  end
  return nil, agreed[1] and agreed[2] and agreed[3]
end
-- <<< agreement

-- >>> named
-- XINFO answers with names and values in turn: the same as a table.
local function named(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
-- <<< named

-- >>> allowed
-- Redis takes nothing back where a user may not run what comes behind the first write: so ask before it. What is refused
-- is called all the same, as nothing is written yet, for the refusal in Redis's own words.
local function must(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 3 or #ARGV ~= 5 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.match(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
elseif processor == '' then
  return redis.error_reply('BADARG field=processor')
elseif start ~= '0' and start ~= '$' then
  return redis.error_reply('BADARG field=start')
end
local refusal, agreed = disagreement(meta)
if refusal then
  return redis.error_reply(refusal)
end

local stored = redis.call('HMGET', state, 'checkpoint', 'read')
local passed = redis.call('HGET', meta, 'passed:' .. processor)
local there = redis.call('EXISTS', log) == 1
local grouped, shown, shown_read = false, nil, nil
local added, length, last = 0, 0, '0-0'
if there then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local at = named(group)
    if at.name == processor then
      grouped, shown, shown_read = true, at['last-delivered-id'], at['entries-read']
    end
  end
  local info = named(redis.call('XINFO', 'STREAM', log))
  added, length, last = info['entries-added'], info.length, info['last-generated-id']
end
if stored[1] and passed and grouped then
  return {0, stored[1]}
end

-- Known by its state or, where that key was lost, by the checkpoint that retention goes by; where both were, by its
-- consumer group, which moves with each commit.
local checkpoint, read, created = stored[1] or passed or shown, stored[2], 2
local registered = 0
for _, name in ipairs(checkpoint and {} or redis.call('HKEYS', meta)) do
  if string.match(name, '^passed:') then registered = registered + 1 end
end
if registered >= 100 then
  return redis.error_reply('BADARG field=processor limit=100 registered=' .. registered)
end
if not checkpoint then
  created = 1
  if start == '$' then
    checkpoint, read = last, added
  else
    checkpoint, read = '0-0', added - length
  end
elseif not read and shown_read then
  read = math.min(shown_read, added)
elseif not read then
  -- Nothing says how many came before it: count from the nearer end, as far as one call may look.
  local rest = #redis.call('XRANGE', log, '(' .. checkpoint, '+', 'COUNT', 1001)
  local done = rest > 1000 and #redis.call('XREVRANGE', log, checkpoint, '-', 'COUNT', 1001) or 0
  read = rest <= 1000 and added - rest or added - length + done
end
must('HSETNX', meta, 'hash', hash)
must('HSET', meta, 'hash', hash)
must('HSET', state, 'read', read)
must('HDEL', meta, 'hash')
must('XGROUP', 'CREATE', log, processor, checkpoint)
must('XGROUP', 'SETID', log, processor, checkpoint)
must('XSETID', log, checkpoint)
if not agreed and redis.call('HGET', meta, 'deleted') then
  -- Wanted again. With the last of its marks the key goes, and with it the time that it had left.
  local marks = redis.call('HGETALL', meta)
  for i = 1, #marks, 2 do redis.call('HDEL', meta, marks[i]) end
end
redis.call('HSETNX', meta, 'protocol', protocol)
redis.call('HSETNX', meta, 'partitions', partitions)
redis.call('HSETNX', meta, 'hash', hash)
if not grouped then
  redis.call('XGROUP', 'CREATE', log, processor, checkpoint, 'MKSTREAM', 'ENTRIESREAD', read)
  if not there and checkpoint ~= '0-0' then
    -- A log that vanished goes on above its old ids, so that no reader overlooks what comes.
    redis.call('XSETID', log, checkpoint, 'ENTRIESADDED', read, 'MAXDELETEDID', checkpoint)
    -- Redis 8 took no more for read than had been added before.
    redis.call('XGROUP', 'SETID', log, processor, checkpoint, 'ENTRIESREAD', read)
  end
end
redis.call('HSET', state, 'checkpoint', checkpoint, 'read', read)
redis.call('HSET', meta, 'passed:' .. processor, checkpoint)
redis.call('HDEL', meta, 'removed:' .. processor)
return {created, checkpoint}
