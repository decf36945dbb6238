#!lua
-- append_once -- add one event to a partition, unless one was added under the same key in a time before.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  dedupe      string  runnel:{APP:SOURCE:N}:STREAM:dedupe:KEY
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream
-- ARGV[3]  hash        str     name of the hash function from key bytes to partition
-- ARGV[4]  size        int     entries that the partition may hold
-- ARGV[5]  when_full   str     refuse, or drop_oldest to drop entries that no processor has committed
-- ARGV[6]  window      int     ms for which the key is remembered, from 1; a repeat does not make it longer
-- ARGV[7+] entry       str     the number of values, then fields and values in turn
-- REPLY    added       int     1, or 0 if an event was added before under this key
-- REPLY    id          id      id of the event, or of that one
-- REPLY    count       int     1, as in the reply of append
-- ERROR    BADARG      an argument is malformed or over a limit
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- ERROR    MISSING     the stream was deleted; deleted=MS; declare partition 0, to learn if it exists again, then this one
-- ERROR    FULL        no room, and retention must not remove anything; processor=NAME has not committed the oldest entries
-- ERROR    OVERDUE     a delayed event is due and must enter the log first; due=MS; call promote, then repeat this call
-- WRITES   yes
-- BOUND    1 entry added, 1000 removed
-- VERSION  1
local log, meta, dedupe = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local when_full, window = ARGV[5], ARGV[6]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> contract
-- Returns the refusal if another protocol, partition count or hash is stored; then whether all three are stored; then when
-- the first delayed event is due, if any waits.
local function contract_mismatch(key)
  local stored = redis.call('HMGET', key, 'protocol', 'partitions', 'hash', 'delayed_due')
  if stored[1] and stored[1] ~= protocol and tonumber(stored[1]) > tonumber(protocol) then
    return 'MISMATCH field=protocol stored=' .. stored[1] .. ' given=' .. protocol
  elseif stored[2] and stored[2] ~= partitions then
    return 'MISMATCH field=partitions stored=' .. stored[2] .. ' given=' .. partitions
  elseif stored[3] and stored[3] ~= hash then
    return 'MISMATCH field=hash stored=' .. stored[3] .. ' given=' .. hash
  end
  return nil, stored[1] and stored[2] and stored[3], stored[4]
end
-- <<< contract

-- >>> ids
-- Is id `a` larger than id `b`? The digits are compared as text, because numbers lose precision above 2^53.
local function newer(a, b)
  local a_ms, a_seq = string.match(a, '^0*(%d+)%-0*(%d+)$')
  local b_ms, b_seq = string.match(b, '^0*(%d+)%-0*(%d+)$')
  if a_ms ~= b_ms then
    return #a_ms > #b_ms or (#a_ms == #b_ms and a_ms > b_ms)
  end
  return #a_seq > #b_seq or (#a_seq == #b_seq and a_seq > b_seq)
end
-- <<< ids

-- >>> table
-- XINFO replies with a flat list of names and values. This makes it a table.
local function to_table(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
-- <<< table

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

-- >>> trim
-- Decides which of the oldest entries are removed so that `more` entries fit. Returns the id below which entries are
-- removed, or nil if none are; a refusal if they must not be removed; and for each processor what it loses. Unless the
-- when_full is drop_oldest, only entries that every processor has committed are removed, and the entry at the lowest
-- checkpoint stays. `passed` has checkpoints that this call moves.
local function plan_trim(log_key, meta_key, limit, more, passed)
  local excess = math.min(redis.call('XLEN', log_key) + more - limit, 1000)
  if excess <= 0 then return nil end
  local oldest = redis.call('XRANGE', log_key, '-', '+', 'COUNT', excess + 1)
  if #oldest <= excess then return nil, 'FULL processor= limit=' .. limit end
  local bound, groups, registered = oldest[excess + 1][1], {}, 0
  local function count_after(id)
    local number = 0
    for i = 1, excess do
      if newer(oldest[i][1], id) then number = number + 1 end
    end
    return number
  end
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do
    local group = to_table(reply)
    groups[group.name] = group
  end
  local stored, losses = redis.call('HGETALL', meta_key), {}
  for i = 1, #stored, 2 do
    local name = string.match(stored[i], '^checkpoint:(.+)$')
    if name then
      local checkpoint = passed and passed[name] or stored[i + 1]
      registered = registered + 1
      if when_full == 'drop_oldest' then
        local lost, group, read = count_after(checkpoint), groups[name], nil
        local ahead = lost > 0 and group and group['entries-read'] and count_after(group['last-delivered-id']) or 0
        if ahead > 0 then read = string.format('%.0f', group['entries-read'] + ahead) end
        if lost > 0 then losses[name] = {number = lost, read = read, last = oldest[excess][1]} end
      elseif not groups[name] then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' group=missing'
      elseif newer(bound, checkpoint) then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' checkpoint=' .. checkpoint
      end
    end
  end
  if registered == 0 and when_full ~= 'drop_oldest' then return nil, 'FULL processor= limit=' .. limit end
  check_allowed('XTRIM', log_key, 'MINID', '=', bound)
  if next(losses) then
    check_allowed('HINCRBY', meta_key, 'dropped:', '1')
    check_allowed('XGROUP', 'SETID', log_key, '-', '$')
  end
  return bound, nil, losses
end

-- Removes these entries. The consumer group of a processor that loses some moves past them, so that they are no lag.
local function trim(log_key, meta_key, bound, losses)
  redis.call('XTRIM', log_key, 'MINID', '=', bound)
  for name, loss in pairs(losses) do
    redis.call('HINCRBY', meta_key, 'dropped:' .. name, loss.number)
    if loss.read then redis.pcall('XGROUP', 'SETID', log_key, name, loss.last, 'ENTRIESREAD', loss.read) end
  end
end
-- <<< trim

if #KEYS ~= 3 or #ARGV < 9 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.find(dedupe, ':dedupe:.') or #dedupe > 1500 then
  return redis.error_reply('BADARG field=dedupe limit=1500')
elseif not string.find(window, '^[1-9]%d*$') or #window > 15 then
  return redis.error_reply('BADARG field=window')
end

-- >>> send_args
if not string.find(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.find(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
elseif not string.find(ARGV[4], '^%d+$') or #ARGV[4] > 15 or size < 2 then
  return redis.error_reply('BADARG field=size')
elseif when_full ~= 'refuse' and when_full ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=when_full')
end
-- <<< send_args

local width = tonumber(ARGV[7])
if not width or width < 2 or width > 1000 or width % 2 ~= 0 or 7 + width ~= #ARGV then
  return redis.error_reply('BADARG field=entry')
end

-- >>> not_deleted
local refusal, declared, delayed_due = contract_mismatch(meta)
if refusal then
  return redis.error_reply(refusal)
end
local deleted = not declared and redis.call('HGET', meta, 'deleted')
if deleted then
  return redis.error_reply('MISSING deleted=' .. deleted)
end
-- <<< not_deleted

-- The mark of the stream. If the stream is deleted and declared again, its next mark differs: keys that were remembered
-- before then count for nothing, although nobody can list them to delete them.
local mark = redis.call('HGET', meta, 'dedupe')
local before = redis.call('GET', dedupe)
if before then
  local id, marked = string.match(before, '^(%d+%-%d+) (%d+)$')
  if not id then
    return redis.error_reply('BADARG field=dedupe stored=' .. before)
  elseif marked == mark and redis.call('EXISTS', log) == 1 then
    -- If the log has not come as far as this event, somebody deleted the log alone.
    local info = to_table(redis.call('XINFO', 'STREAM', log))
    if not newer(id, info['last-generated-id']) then return {0, id, 1} end
  end
end

-- >>> overdue
-- What is due enters the log before anything that is added later. The clock is asked only if delayed events wait.
if delayed_due then
  local clock = redis.call('TIME')
  if (tonumber(delayed_due) or 0) <= clock[1] * 1000 + math.floor(clock[2] / 1000) then
    return redis.error_reply('OVERDUE due=' .. delayed_due)
  end
end
-- <<< overdue

local bound, full, losses = plan_trim(log, meta, size, 1)
if full then
  return redis.error_reply(full)
end
local new_mark = mark or string.format('%.0f', now)
check_allowed('HSET', meta, 'dedupe', new_mark)
check_allowed('SET', dedupe, '', 'PX', window)

-- >>> add
if not declared then
  check_allowed('XADD', log, '*', 'f', 'v')
  redis.call('HSETNX', meta, 'protocol', protocol)
  redis.call('HSETNX', meta, 'partitions', partitions)
  redis.call('HSETNX', meta, 'hash', hash)
end
local first, id = nil, '*'
-- Adds the entry with the arguments from `from` to `to`. All entries of a call get ids of one millisecond, and of the next
-- one where its sequence numbers end: only ids that others chose come near that end. Where the millisecond is too large for
-- an exact number, Redis chooses the id: such an id is ahead of every clock anyway.
local function add(from, to, is_last)
  local added = redis.call('XADD', log, id, unpack(ARGV, from, to))
  first = first or added
  local is_last_of_ms = #added > 20 and string.find(added, '-18446744073709551615', 1, true)
  if not is_last and (id == '*' or is_last_of_ms) then
    local ms = string.match(added, '^%d+')
    if is_last_of_ms then ms = tonumber(ms) < 2 ^ 53 and string.format('%.0f', ms + 1) end
    id = ms and ms .. '-*' or '*'
  end
end
-- <<< add

add(8, 7 + width, true)
if bound then trim(log, meta, bound, losses) end
if not mark then redis.call('HSET', meta, 'dedupe', new_mark) end
redis.call('SET', dedupe, first .. ' ' .. new_mark, 'PX', window)
return {1, first, 1}
