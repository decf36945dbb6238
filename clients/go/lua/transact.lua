#!lua
-- transact -- a commit with effects, all or nothing: writes of tables, entries of other streams, such as dead letters.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[4+] targets    mixed   for each effect: runnel:{APP:SOURCE:N}:STREAM:table:NAME, and if its keys expire
--                             runnel:{APP:SOURCE:N}:STREAM:table:NAME:expiry; the log and the meta of a stream; or
--                             runnel:{APP:SOURCE:N}:STREAM:outbox:PROCESSOR; or both
--                             runnel:{APP:SOURCE:N}:STREAM:parked:PROCESSOR
--                             and runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR; for postpone, these and
--                             runnel:{APP:SOURCE:N}:STREAM:postponed:PROCESSOR; for replayed, the first two,
--                             runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR, and that of postpone if one was postponed
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- ARGV[2]  epoch      int     of the token
-- ARGV[3]  nonce      str     of the token
-- ARGV[4]  prev       id      the checkpoint before this commit
-- ARGV[5]  next       id      the checkpoint after it
-- ARGV[6]  count      int     events finished after prev, up to next
-- ARGV[7]  release    int     1 to release the lease, else 0
-- ARGV[8+] effects    str     1 to 50, in the order of their keys, each of one of these forms. An entry is the number of its
--                             values, then fields and values in turn
--                             table SETS DELETES, then a field and its value for each set, a field for each delete
--                             expiring SECONDS SETS DELETES, then the same: fields not written for so long are removed
--                             derived SIZE WHEN_FULL COUNT, then the entries: for a stream derived from the same source; SIZE
--                             and WHEN_FULL as in append
--                             stream SIZE WHEN_FULL COUNT PROTOCOL PARTITIONS HASH, then the entries: for any other stream;
--                             not in a Redis Cluster, where a script cannot write to another slot
--                             outbox SIZE COUNT, then the entries: for streams in other slots; see lua/README.md
--                             park SIZE COUNT, then the entries, whose first field is `key`: events that are set aside
--                             postpone MS SIZE COUNT, then the same: they are due in so many ms, at most 366 days
--                             replayed COUNT, then ids of entries of parked: events that are finished after all. With this
--                             effect prev may be next, and count 0; see lua/README.md
-- REPLY    applied    int     1, or 0 if the call repeats one that was applied
-- REPLY    paused     int     1 if an operator has paused the processor
-- ERROR    BADARG     an argument is malformed or over a limit
-- ERROR    FENCED     the token is not the partition's, or was released; epoch=STORED
-- ERROR    CONFLICT   the stored checkpoint is neither prev nor next; checkpoint=STORED; or next, or a replayed event, does not
--                     exist; missing=ID
-- ERROR    MISSING    the log, the consumer group or the checkpoint in meta is missing; as for CONFLICT. With sink=KEY:
--                     that stream is not declared, or was deleted; declare partition 0, then the partition of KEY
-- ERROR    MISMATCH   the partition count, hash or protocol stored for a stream differs; sink=KEY
-- ERROR    FULL       a stream has no room; processor=NAME has not committed its oldest entries; sink=KEY. Or the outbox, or
--                     parked, has none
-- ERROR    NOT_WRITER another processor writes this table; table=NAME writer=PROCESSOR
-- REPEAT   recognised by epoch, nonce, next, release: 0, while next is the checkpoint; a replay by effects: 0
-- WRITES   yes
-- BOUND    200 entries added, 200 events parked or replayed, 1100 removed in each stream; 1000 fields of tables written; of a
--                     table whose keys expire, twice as many as were written, and 10, removed
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor, epoch, nonce, prev, next_id, count, release = unpack(ARGV, 1, 7)

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

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

local when_full, protocol, partitions, hash -- Of the effect that is checked.

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

-- >>> drop
-- Returns what a processor with this checkpoint loses if the first `number` of these entries are removed; nil if it loses none.
local function loss_of(oldest, number, checkpoint, group)
  local function count_after(id)
    local found = 0
    for i = 1, number do
      if newer(oldest[i][1], id) then found = found + 1 end
    end
    return found
  end
  local lost = count_after(checkpoint)
  local ahead = lost > 0 and group and group['entries-read'] and count_after(group['last-delivered-id']) or 0
  local read = ahead > 0 and string.format('%.0f', group['entries-read'] + ahead) or nil
  return lost > 0 and {number = lost, read = read, last = oldest[number][1]} or nil
end

local function check_drop(log_key, meta_key)
  check_allowed('HINCRBY', meta_key, 'dropped:', '1')
  check_allowed('XGROUP', 'SETID', log_key, '-', '$')
end

-- Removes these entries. The consumer group of a processor that loses some moves past them, so that they are no lag.
local function trim(log_key, meta_key, bound, losses)
  redis.call('XTRIM', log_key, 'MINID', '=', bound)
  for name, loss in pairs(losses) do
    redis.call('HINCRBY', meta_key, 'dropped:' .. name, loss.number)
    if loss.read then redis.pcall('XGROUP', 'SETID', log_key, name, loss.last, 'ENTRIESREAD', loss.read) end
  end
end
-- <<< drop

-- >>> trim
-- Decides which of the oldest entries are removed so that `more` entries fit. Returns the id below which entries are
-- removed, or nil if none are; a refusal if they must not be removed; and for each processor what it loses. Unless the
-- when_full is drop_oldest, only entries that every processor has committed are removed, and the entry at the lowest
-- checkpoint stays; with drop_unread also others while there is neither a processor nor a consumer group. `passed` has
-- checkpoints that this call moves.
local function plan_trim(log_key, meta_key, limit, more, passed)
  local excess = math.min(redis.call('XLEN', log_key) + more - limit, 1000)
  if excess <= 0 then return nil end
  local oldest = redis.call('XRANGE', log_key, '-', '+', 'COUNT', excess + 1)
  if #oldest <= excess then return nil, 'FULL processor= limit=' .. limit end
  local bound, groups, registered = oldest[excess + 1][1], {}, 0
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
        losses[name] = loss_of(oldest, excess, checkpoint, groups[name])
      elseif not groups[name] then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' group=missing'
      elseif newer(bound, checkpoint) then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' checkpoint=' .. checkpoint
      end
    end
  end
  if registered == 0 and when_full ~= 'drop_oldest' and (when_full ~= 'drop_unread' or next(groups)) then
    return nil, 'FULL processor= limit=' .. limit .. (when_full == 'drop_unread' and ' reader=' .. next(groups) or '')
  end
  check_allowed('XTRIM', log_key, 'MINID', '=', bound)
  if next(losses) then check_drop(log_key, meta_key) end
  return bound, nil, losses
end
-- <<< trim

-- >>> age
-- Returns the lowest checkpoint: entries before it have been committed by every processor. Or `+` if nobody reads the stream
-- and it keeps nothing for that case. Or nil and the name of a processor if nothing may be removed, because its consumer group
-- is missing, or an empty name if nobody reads the stream.
local function lowest_checkpoint(log_key, meta_key)
  local groups, lowest, holder = {}, nil, ''
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do groups[to_table(each).name] = true end
  local fields = redis.call('HGETALL', meta_key)
  for i = 1, #fields, 2 do
    local name = string.match(fields[i], '^checkpoint:(.+)$')
    if name and not groups[name] then return nil, name end
    if name and (not lowest or newer(lowest, fields[i + 1])) then lowest, holder = fields[i + 1], name end
  end
  if not lowest and when_full == 'drop_unread' and not next(groups) then lowest = '+' end
  return lowest, holder
end

-- Decides which entries leave because they are older than `most_ms`. Returns the id below which they are removed, nil if none
-- are; the id from which entries are young enough; and what `lowest_checkpoint` says. An id tells the age of its entry.
local function plan_age(log_key, meta_key, most_ms, now_ms)
  local young = string.format('%.0f-0', math.max(now_ms - most_ms, 0))
  if young == '0-0' or redis.call('XLEN', log_key) == 0 then return nil, '0-0' end
  local lowest, holder = lowest_checkpoint(log_key, meta_key)
  local bound = lowest
  if bound and (bound == '+' or newer(bound, young)) then bound = young end
  check_allowed('HSET', meta_key, 'trimmed_at', '0')
  check_allowed('XTRIM', log_key, 'MINID', '0')
  return bound ~= '0-0' and bound or nil, young, lowest, holder
end

-- Removes at most 1100 entries: first whole nodes of the stream, of which Redis reads no entry, then up to 100 entries one by
-- one, which are in one node. If more are left, the next call looks again. Returns how many it removed, and whether more are.
local function trim_age(log_key, meta_key, bound, now_ms)
  local removed, more = 0, false
  if bound then
    removed = redis.call('XTRIM', log_key, 'MINID', '~', bound, 'LIMIT', 1000)
    more = removed > 800
    local rest = more and {} or redis.call('XRANGE', log_key, '-', '(' .. bound, 'COUNT', 101)
    if rest[101] then bound, more = rest[101][1], true end
    if rest[1] then removed = removed + redis.call('XTRIM', log_key, 'MINID', '=', bound) end
  end
  redis.call('HSET', meta_key, 'trimmed_at', more and '0' or string.format('%.0f', now_ms))
  return removed, more
end
-- <<< age

-- >>> age_due
-- The same as `plan_age`, but it looks only once in a hundredth of that age: `trimmed_at` of meta is the time of the last look.
-- Returns nil if it did not look, else what `trim_age` needs.
local function plan_age_if_due(log_key, meta_key, most_ms, now_ms)
  local looked = tonumber(redis.call('HGET', meta_key, 'trimmed_at') or '')
  if looked and looked <= now_ms and now_ms - looked < most_ms / 100 then return nil end
  check_allowed('HSET', meta_key, 'trimmed_at', '0')
  return {bound = plan_age(log_key, meta_key, most_ms, now_ms), now_ms = now_ms}
end
-- <<< age_due

-- >>> history
-- Notes what happened to the lease, for people who ask who had the partition. The newest 20 notes are kept, one in a line:
-- time, what, epoch, member or `-` for an operator, and what else there is to say.
local function note_lease(state_key, what, lease_epoch, who, more)
  local kept = redis.call('HMGET', state_key, 'history')[1] or ''
  local _, lines = string.gsub(kept, '\n', '')
  if lines > 19 then kept = string.match(kept, '^[^\n]*\n(.*)$') end
  local said = string.sub(who or '-', 1, 200) .. (more and ' ' .. string.sub(more, 1, 200) or '')
  redis.call('HSET', state_key, 'history', kept .. string.format('%.0f', now) .. ' ' .. what .. ' ' .. (lease_epoch or '0') .. ' '
    .. string.gsub(said, '%c', '?') .. '\n')
end
-- <<< history

if #KEYS < 4 or #ARGV < 10 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end

-- >>> commit
if not string.match(next_id, '^%d+%-%d+$') or #next_id > 41 then
  return redis.error_reply('BADARG field=next')
elseif not string.match(count, '^%d+$') or #count > 15 then
  return redis.error_reply('BADARG field=count')
elseif release ~= '0' and release ~= '1' then
  return redis.error_reply('BADARG field=release')
end
local stored = redis.call('HMGET', state, 'epoch', 'nonce', 'released', 'checkpoint', 'read', 'processed', 'paused',
  'event', 'unclean_tenures')
local stored_epoch, stored_nonce, released, checkpoint, read, processed, is_paused = unpack(stored, 1, 7)
local paused = is_paused == '1' and 1 or 0
if stored_epoch ~= epoch or stored_nonce ~= nonce then
  return redis.error_reply('FENCED epoch=' .. (stored_epoch or '0'))
elseif released == '1' then
  if release == '1' and checkpoint == next_id then return {0, paused} end
  return redis.error_reply('FENCED epoch=' .. stored_epoch .. ' released=1')
elseif checkpoint ~= prev then
  if release == '0' and checkpoint == next_id then return {0, paused} end
  return redis.error_reply('CONFLICT checkpoint=' .. checkpoint)
elseif prev ~= next_id and not newer(next_id, prev) then
  return redis.error_reply('BADARG field=next')
end
local group_id, group_read = next_id, nil
if prev ~= next_id then
  local found = redis.pcall('XRANGE', log, next_id, next_id, 'COUNT', 1)
  if not found.err and #found == 0 and redis.call('EXISTS', log) == 1 then
    -- There is no such entry. If the log now begins after it, and all entries up to it were removed, it was trimmed since it
    -- was read: the commit is right. Else it was deleted; or a server has taken over that lost the last writes, or never had
    -- them: then a checkpoint there would skip later events, or count an event that its producer sends again.
    local info = to_table(redis.call('XINFO', 'STREAM', log))
    local first, removed = info['first-entry'], info['entries-added'] - info.length
    if newer(next_id, first and first[1] or info['last-generated-id']) or removed < read + count then
      return redis.error_reply('CONFLICT checkpoint=' .. checkpoint .. ' missing=' .. next_id)
    end
    -- If `drop_oldest` removed it, the consumer group was moved past it. The group does not move back.
    for _, reply in ipairs(redis.call('XINFO', 'GROUPS', log)) do
      local group = to_table(reply)
      if group.name == processor and group['entries-read'] and newer(group['last-delivered-id'], next_id) then
        group_id, group_read = group['last-delivered-id'], string.format('%.0f', group['entries-read'])
      end
    end
  end
end
-- <<< commit

-- >>> parked
-- Counts one parked event more, or with -1 one fewer, for its key. What stands behind the number stays: it is how the last
-- replay of the key failed. A key without parked events is not parked, and is not replayed.
local function count_parked(counts, marks, name, change)
  local value = redis.call('HGET', counts, name) or '0'
  local left = (tonumber(string.match(value, '^%d+')) or 0) + change
  if left > 0 then
    redis.call('HSET', counts, name, left .. (string.match(value, '^%d+(.*)$') or ''))
  else
    redis.call('HDEL', counts, name)
    redis.call('HDEL', marks, name)
  end
end
-- <<< parked

-- >>> postponed
-- Notes in the state how many events are postponed, and when the first of them is due.
local function note_postponed(state_key, postponed_key)
  local first = redis.call('ZRANGE', postponed_key, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('HSET', state_key, 'postponed', redis.call('ZCARD', postponed_key), 'postponed_due',
      string.format('%.0f', first))
  else
    redis.call('HDEL', state_key, 'postponed', 'postponed_due')
  end
end
-- <<< postponed

-- Read the effects. Nothing is written before all are known to be possible.
local effects, at, key, entries, fields, seen, parked, replayed = {}, 8, 4, 0, 0, {}, 0, nil
local function own_key(name)
  return (string.gsub(state, ':processor:([^:]+)$', ':' .. name .. ':%1'))
end
local function number(i)
  return string.match(ARGV[i] or '', '^%d+$') and #ARGV[i] <= 15 and tonumber(ARGV[i])
end
local function read_table(effect)
  if effect.kind == 'expiring' then
    effect.seconds, effect.expiry, key, at = number(at + 1), KEYS[key + 1], key + 1, at + 1
    if not effect.seconds or effect.seconds == 0 or effect.expiry ~= effect.key .. ':expiry' then return false end
  end
  effect.sets, effect.deletes, effect.name = number(at + 1), number(at + 2), string.match(effect.key, ':table:([^:]+)$')
  if not effect.name or not effect.sets or not effect.deletes or effect.sets + effect.deletes == 0 then return false end
  fields, effect.first, at = fields + effect.sets + effect.deletes, at, at + 3 + 2 * effect.sets + effect.deletes
  return true
end
-- >>> limits
-- Reads a size that has an age in ms behind a comma. Returns both, or nothing if it is malformed.
local function read_limits(text)
  local most, age = string.match(text or '', '^(%d+),([1-9]%d*)$')
  if most and #most <= 15 and #age <= 15 then return tonumber(most), tonumber(age) end
end
-- <<< limits
local function read_stream(effect)
  effect.size, effect.when_full, effect.count, effect.meta = number(at + 1), ARGV[at + 2], number(at + 3), KEYS[key + 1]
  if not effect.size then effect.size, effect.max_age = read_limits(ARGV[at + 1]) end
  local how = effect.when_full
  if not effect.size or effect.size < 2 or not effect.meta
      or (how ~= 'refuse' and how ~= 'drop_unread' and how ~= 'drop_oldest') then return false end
  at, key = at + 4, key + 1
  if effect.kind == 'stream' then
    if not number(at) or not number(at + 1) or not ARGV[at + 2] then return false end
    at = at + 3
  end
  return true
end
local function read_outbox(effect)
  effect.size, effect.count = number(at + 1), number(at + 2)
  at = at + 3
  return effect.size and effect.key == own_key('outbox')
end
local function read_park(effect)
  effect.size, effect.count, effect.counts = number(at + 1), number(at + 2), KEYS[key + 1]
  at, key = at + 3, key + 1
  return effect.size and effect.key == own_key('parked') and effect.counts == own_key('parked_keys')
end
local function read_postpone(effect)
  effect.ms, effect.postponed, at = number(at + 1), KEYS[key + 2], at + 1
  if not effect.ms or effect.ms > 31622400000 or effect.postponed ~= own_key('postponed') then return false end
  local well_formed = read_park(effect)
  key = key + 1
  return well_formed
end
local function read_replayed(effect)
  effect.ids, effect.count, effect.counts, effect.replay = at + 2, number(at + 1), KEYS[key + 1], KEYS[key + 2]
  if not effect.count or effect.count == 0 or effect.count > 200 then return false end
  at, key, parked, replayed = at + 2 + effect.count, key + 2, parked + effect.count, effect
  if KEYS[key + 1] == own_key('postponed') then effect.postponed, key = KEYS[key + 1], key + 1 end
  for i = effect.ids, at - 1 do
    if not string.match(ARGV[i] or '', '^%d+%-%d+$') then return false end
  end
  return effect.key == own_key('parked') and effect.counts == own_key('parked_keys') and effect.replay == own_key('replay')
end
local read_kind = {
  table = read_table, expiring = read_table, derived = read_stream, stream = read_stream, outbox = read_outbox,
  park = read_park, postpone = read_postpone, replayed = read_replayed,
}
while at <= #ARGV do
  local effect = {kind = ARGV[at], first = at, key = KEYS[key]}
  local read_it = read_kind[effect.kind]
  if not read_it or not effect.key or seen[effect.key] or not read_it(effect) then
    return redis.error_reply('BADARG field=effects at=' .. effect.first)
  end
  key, seen[effect.key] = key + 1, true
  if effect.size then
    -- A stream keeps the entry at the lowest checkpoint, so that it must have room for one more.
    local parks = effect.kind == 'park' or effect.kind == 'postpone'
    local most = parks and effect.size or effect.size - 1
    if not effect.count or effect.count == 0 then
      return redis.error_reply('BADARG field=effects at=' .. effect.first)
    elseif effect.count > most then
      return redis.error_reply('BADARG field=entries limit=' .. most)
    end
    effect.entries = at
    if parks then parked = parked + effect.count else entries = entries + effect.count end
    for _ = 1, math.min(effect.count, 201) do
      local width = number(at)
      -- An entry that is set aside has some fields more than the one that was sent.
      if not width or width < 2 or width > 1040 or width % 2 ~= 0 or at + width > #ARGV
          or (parks and ARGV[at + 1] ~= 'key') then
        return redis.error_reply('BADARG field=entries at=' .. at)
      end
      at = at + width + 1
    end
  end
  effects[#effects + 1] = effect
  if #effects > (parked > 0 and 51 or 50) or entries > 200 or parked > 200 or fields > 1000 then
    return redis.error_reply('BADARG field=effects effects=50 entries=200 parked=200 fields=1000')
  end
end
if at ~= #ARGV + 1 or key ~= #KEYS + 1 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif prev == next_id and not replayed then
  return redis.error_reply('BADARG field=next')
end

-- Which fields of a table have not been written for so long that this commit removes them?
local function plan_expiry(effect, times_kept)
  redis.call('ZCARD', effect.expiry) -- If this is no sorted set, the error of Redis is the reply.
  check_allowed('UNLINK', effect.expiry)
  check_allowed('ZADD', effect.expiry, '1', 'f')
  check_allowed('ZREM', effect.expiry, 'f')
  effect.expired, effect.times_kept = {}, times_kept
  if not times_kept then return end
  local most, before = 2 * (effect.sets + effect.deletes) + 10, string.format('%.0f', now - effect.seconds * 1000)
  effect.expired = redis.call('ZRANGE', effect.expiry, '-inf', before, 'BYSCORE', 'LIMIT', 0, most)
end

-- Removes these fields, and notes when those were written that are written now. It comes before their write: one that was to
-- be removed lives on.
local function keep_times(effect)
  local first, times = effect.first + 3, {}
  local first_delete = first + 2 * effect.sets
  if not effect.times_kept then redis.call('UNLINK', effect.expiry) end -- Commits in between did not keep them.
  if #effect.expired > 0 then
    redis.call('HDEL', effect.key, unpack(effect.expired))
    redis.call('ZREM', effect.expiry, unpack(effect.expired))
  end
  for i = first, first_delete - 1, 2 do
    times[#times + 1] = string.format('%.0f', now)
    times[#times + 1] = ARGV[i]
  end
  if effect.sets > 0 then redis.call('ZADD', effect.expiry, unpack(times)) end
  if effect.deletes > 0 then redis.call('ZREM', effect.expiry, unpack(ARGV, first_delete, first_delete + effect.deletes - 1)) end
  redis.call('HSET', meta, 'expires:' .. effect.name, effect.seconds)
end

-- Check the effects: each returns a refusal if it is not possible.
local function check_table(effect)
  local writer, expires = unpack(redis.call('HMGET', meta, 'table:' .. effect.name, 'expires:' .. effect.name))
  if writer and writer ~= processor then return 'NOT_WRITER table=' .. effect.name .. ' writer=' .. writer end
  redis.call('HLEN', effect.key) -- If this is no hash, the error of Redis is the reply.
  check_allowed('HSET', effect.key, 'f', 'v')
  check_allowed('HDEL', effect.key, 'f')
  effect.forgets_times = not effect.seconds and expires and expires ~= '0'
  if effect.seconds then plan_expiry(effect, expires and expires ~= '0') end
end
local function check_stream(effect)
  when_full = effect.when_full
  if effect.kind == 'stream' then
    protocol, partitions, hash = unpack(ARGV, effect.first + 4, effect.first + 6)
    local refusal, declared = contract_mismatch(effect.meta)
    if refusal or not declared then return (refusal or 'MISSING') .. ' sink=' .. effect.key end
  end
  local full
  -- A processor may write to the log that it reads: this commit makes room there. One entry more fits, since the one at its
  -- checkpoint stays: otherwise a full log would wait for itself.
  local own = effect.key == log
  local passed, size = own and {[processor] = next_id} or {}, own and effect.size + 1 or effect.size
  effect.bound, full, effect.losses = plan_trim(effect.key, effect.meta, size, effect.count, passed)
  if full then return full .. ' sink=' .. effect.key end
  if effect.max_age and not effect.bound then
    effect.age = plan_age_if_due(effect.key, effect.meta, effect.max_age, now)
  end
  check_allowed('XADD', effect.key, '*', 'f', 'v')
  local sink = redis.call('EXISTS', effect.key) == 1 and to_table(redis.call('XINFO', 'STREAM', effect.key)) or {}
  if sink['last-generated-id'] == '18446744073709551615-18446744073709551615' then
    redis.call('XADD', effect.key, '*', 'f', 'v') -- No id is left: Redis refuses this, and its error is the reply.
  end
end
-- The entries of an outbox have the ids EPOCH-NUMBER. They rise, and no two leases use the same, even after a failover.
local function check_outbox(effect)
  effect.last = tonumber(redis.call('HGET', state, 'outbox_last') or '0')
  if redis.call('XLEN', effect.key) + effect.count > effect.size then
    return 'FULL processor= limit=' .. effect.size .. ' sink=' .. effect.key
  end
  check_allowed('XADD', effect.key, '*', 'f', 'v')
  local outbox = redis.call('EXISTS', effect.key) == 1 and to_table(redis.call('XINFO', 'STREAM', effect.key))
  if outbox and not newer(epoch .. '-' .. string.format('%.0f', effect.last + 1), outbox['last-generated-id']) then
    return 'CONFLICT outbox=' .. outbox['last-generated-id']
  end
end
local function check_park(effect)
  if redis.call('XLEN', effect.key) + effect.count > effect.size then
    return 'FULL processor= limit=' .. effect.size .. ' sink=' .. effect.key
  end
  redis.call('HLEN', effect.counts)
  redis.call('HGET', effect.counts, 'f')
  check_allowed('XADD', effect.key, '*', 'f', 'v')
  check_allowed('HSET', effect.counts, 'f', 'v')
  if effect.postponed then
    redis.call('ZCARD', effect.postponed)
    check_allowed('ZADD', effect.postponed, '1', '0-0')
    check_allowed('ZRANGE', effect.postponed, '0', '0', 'WITHSCORES')
  end
end
local function check_replayed(effect)
  effect.names = {}
  for i = 1, effect.count do
    local id = ARGV[effect.ids + i - 1]
    local found = redis.call('XRANGE', effect.key, id, id)[1]
    if found then effect.names[#effect.names + 1] = found[2][2] else effect.missing = id end
  end
  -- Under this token nobody else removes them. So if all are gone, this call was applied before.
  effect.repeated = prev == next_id and #effect.names == 0 and redis.call('EXISTS', effect.key) == 1
  if effect.missing and not effect.repeated then return 'CONFLICT checkpoint=' .. checkpoint .. ' missing=' .. effect.missing end
  redis.call('HLEN', effect.replay)
  redis.call('HLEN', effect.counts)
  redis.call('HGET', effect.counts, 'f')
  check_allowed('XDEL', effect.key, '0-0')
  check_allowed('HSET', effect.counts, 'f', 'v')
  check_allowed('HDEL', effect.counts, 'f')
  check_allowed('HDEL', effect.replay, 'f')
  if effect.postponed then
    redis.call('ZCARD', effect.postponed)
    check_allowed('ZREM', effect.postponed, '0-0')
    check_allowed('ZRANGE', effect.postponed, '0', '0', 'WITHSCORES')
    check_allowed('HDEL', state, 'f')
  end
end
local check_kind = {
  table = check_table, expiring = check_table, derived = check_stream, stream = check_stream, outbox = check_outbox,
  park = check_park, postpone = check_park,
}
if replayed then -- First: what a repeat has written may leave no room for it.
  local refusal = check_replayed(replayed)
  if refusal then return redis.error_reply(refusal) end
  if replayed.repeated then return {0, paused} end
end
for _, effect in ipairs(effects) do
  local refusal = effect ~= replayed and check_kind[effect.kind](effect)
  if refusal then return redis.error_reply(refusal) end
end

local new_read, new_processed = string.format('%.0f', read + count), string.format('%.0f', (processed or 0) + count)
if redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
  return redis.error_reply('MISSING processor=' .. processor)
end
local has_event, tenures = stored[8] and stored[8] ~= '', stored[9]
local event_is_ahead = has_event and string.match(stored[8], '^%d+%-%d+$') and newer(stored[8], next_id)
check_allowed('XGROUP', 'SETID', log, processor, next_id)
check_allowed('HSET', state, 'checkpoint', next_id)
check_allowed('HDEL', state, 'error_type')
local moved = redis.pcall('XGROUP', 'SETID', log, processor, group_id, 'ENTRIESREAD', group_read or new_read)
if moved.err then
  return redis.error_reply('MISSING processor=' .. processor)
end
redis.call('HSET', meta, 'checkpoint:' .. processor, next_id)
redis.call('HSET', state, 'checkpoint', next_id, 'read', new_read, 'processed', new_processed, 'released', release,
  'moved_at', string.format('%.0f', now))
if release == '1' then note_lease(state, 'released', epoch, redis.call('HMGET', state, 'owner')[1]) end
if has_event or (tenures or '0') ~= '0' then
  redis.call('HSET', state, 'unclean_tenures', '0')
  -- Failures of an event after the new checkpoint stay recorded: it is not finished yet.
  if not event_is_ahead then
    redis.call('HSET', state, 'attempts', '0', 'deaths', '0', 'event', '', 'started', '')
    redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
  end
end
local function add_entries(effect)
  at = effect.entries
  for i = 1, effect.count do
    local width, id = tonumber(ARGV[at]), '*'
    if effect.last then id = epoch .. '-' .. string.format('%.0f', effect.last + i) end
    id = redis.call('XADD', effect.key, id, unpack(ARGV, at + 1, at + width))
    if effect.counts then count_parked(effect.counts, nil, ARGV[at + 2], 1) end
    if effect.ms then redis.call('ZADD', effect.postponed, string.format('%.0f', now + effect.ms), id) end
    at = at + width + 1
  end
end
for _, effect in ipairs(effects) do
  if effect.name then
    local first_delete = effect.first + 3 + 2 * effect.sets
    redis.call('HSET', meta, 'table:' .. effect.name, processor)
    if effect.forgets_times then redis.call('HSET', meta, 'expires:' .. effect.name, '0') end
    if effect.seconds then keep_times(effect) end
    if effect.sets > 0 then redis.call('HSET', effect.key, unpack(ARGV, effect.first + 3, first_delete - 1)) end
    if effect.deletes > 0 then redis.call('HDEL', effect.key, unpack(ARGV, first_delete, first_delete + effect.deletes - 1)) end
  elseif effect.kind == 'replayed' then
    redis.call('XDEL', effect.key, unpack(ARGV, effect.ids, effect.ids + effect.count - 1))
    for _, name in ipairs(effect.names) do count_parked(effect.counts, effect.replay, name, -1) end
    redis.call('HSET', state, 'replay', redis.call('HLEN', effect.replay))
    if effect.postponed then redis.call('ZREM', effect.postponed, unpack(ARGV, effect.ids, effect.ids + effect.count - 1)) end
  else
    add_entries(effect)
    if effect.bound then trim(effect.key, effect.meta, effect.bound, effect.losses) end
    if effect.age then trim_age(effect.key, effect.meta, effect.age.bound, effect.age.now_ms) end
    if effect.last then redis.call('HSET', state, 'outbox_last', string.format('%.0f', effect.last + effect.count)) end
  end
  if effect.counts then
    redis.call('HSET', state, 'parked', redis.call('XLEN', effect.key), 'parked_keys', redis.call('HLEN', effect.counts))
  end
  if effect.postponed then note_postponed(state, effect.postponed) end
end
return {1, paused}
