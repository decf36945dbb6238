#!lua
-- append_numbered -- add events of a sender that numbers them to a partition, each event at most once.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  numbers     hash    runnel:{APP:SOURCE:N}:STREAM:numbers
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream
-- ARGV[3]  hash        str     name of the hash function from key bytes to partition
-- ARGV[4]  size        str     entries that the partition may hold; and, if some leave when they are old, behind a comma the age
--                              in ms from which entries that every processor has committed leave
-- ARGV[5]  when_full   str     refuse; drop_unread to drop entries while the stream has neither a processor nor a consumer
--                              group, else refuse; or drop_oldest to drop entries that no processor has committed
-- ARGV[6]  sender      str     producer:ID or outbox:NAME, at most 400 bytes; one append in flight per sender and partition
-- ARGV[7+] entries     str     1 to 1000 entries, each: its number, which has the form of an id and is larger than the one
--                              before; the number of values; then fields and values in turn
-- REPLY    added       int     events added by this call: those of the last entries. The entries before them were there:
--                              their numbers are not larger than the last one that was remembered of this sender
-- REPLY    first       id      id of the first of the last `count` entries, or empty if that is 0; ids go on as in append
-- REPLY    count       int     how many of the last entries have a known id: those that this call added; or, if it adds
--                              none and repeats the last append of the sender, those that it added; else 0
-- REPLY    last        id      the last number of the sender that is remembered now
-- ERROR    BADARG      an argument is malformed or over a limit
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- ERROR    MISSING     the stream was deleted; deleted=MS; declare partition 0, to learn if it exists again, then this one
-- ERROR    FULL        no room, and retention must not remove anything; processor=NAME has not committed the oldest entries
-- ERROR    OVERDUE     a delayed event is due and must enter the log first; due=MS; call promote, then repeat this call;
--                      an outbox does not wait for it
-- REPEAT   recognised by sender, entries: 0; the ids only while it is the last append of the sender
-- WRITES   yes
-- BOUND    1000 entries added, 1100 removed; all outboxes and the last 1000 producers remembered, 1100 of these at most
-- VERSION  1
local log, meta, numbers = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local when_full, sender = ARGV[5], ARGV[6]

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

-- >>> forget
-- Returns the 100 fields of a hash whose last append is oldest, among those that begin with `prefix`; none if there are fewer
-- than 1100. A value is a number and the id of an event, separated by a space. Ids only rise, even if the clock goes back;
-- padded with zeros they can be sorted as text.
local function oldest_senders(key, prefix)
  if redis.call('HLEN', key) < 1100 then return {} end
  local all, ages, zeros, oldest = redis.call('HGETALL', key), {}, string.rep('0', 20), {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #prefix) == prefix then
      local ms, seq = string.match(all[i + 1], ' (%d+)%-(%d+) ')
      ages[#ages + 1] = {string.sub(zeros .. (ms or ''), -20) .. string.sub(zeros .. (seq or ''), -20), all[i]}
    end
  end
  if #ages < 1100 then return {} end
  table.sort(ages, function(a, b) return a[1] < b[1] end)
  for i = 1, 100 do oldest[i] = ages[i][2] end
  check_allowed('HDEL', key, 'f')
  return oldest
end
-- <<< forget

local values = #ARGV
if #KEYS ~= 3 or values < 10 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. values)
end
local kind = string.match(sender, '^(%l+:).')
if (kind ~= 'producer:' and kind ~= 'outbox:') or #sender > 400 then
  return redis.error_reply('BADARG field=sender')
end

-- >>> limits
-- Reads a size that has an age in ms behind a comma. Returns both, or nothing if it is malformed.
local function read_limits(text)
  local most, age = string.match(text or '', '^(%d+),([1-9]%d*)$')
  if most and #most <= 15 and #age <= 15 then return tonumber(most), tonumber(age) end
end
-- <<< limits

-- >>> send_args
local max_age = nil
if not size then size, max_age = read_limits(ARGV[4]) end
if not string.find(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.find(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
elseif not size or size < 2 or (not max_age and (not string.find(ARGV[4], '^%d+$') or #ARGV[4] > 15)) then
  return redis.error_reply('BADARG field=size')
elseif when_full ~= 'refuse' and when_full ~= 'drop_unread' and when_full ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=when_full')
end
-- <<< send_args

-- Read the entries. Their numbers are compared once with each other and, from the first entry on, with the last number that
-- is remembered, until one is newer.
local starts, at, previous = {}, 7, nil
while at <= values do
  local number, width = ARGV[at], tonumber(ARGV[at + 1])
  if not string.find(number, '^%d+%-%d+$') or #number > 41 or (previous and not newer(number, previous)) then
    return redis.error_reply('BADARG field=numbers at=' .. at)
  elseif not width or width < 2 or width > 1000 or width % 2 ~= 0 or at + 1 + width > values then
    return redis.error_reply('BADARG field=entries at=' .. at + 1)
  end
  starts[#starts + 1], previous, at = at, number, at + width + 2
end
local total = #starts
if total > 1000 or total >= size then
  return redis.error_reply('BADARG field=entries limit=' .. math.min(1000, size - 1))
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

local before, skipped = redis.call('HGET', numbers, sender), 0
if before then
  local last, known_first, known_count, first_number = string.match(before, '^(%d+%-%d+) (%d+%-%d+) (%d+) (%d+%-%d+)$')
  if not last then
    return redis.error_reply('BADARG field=sender stored=' .. before)
  end
  while skipped < total and not newer(ARGV[starts[skipped + 1]], last) do skipped = skipped + 1 end
  if skipped == total then
    local index = total - known_count + 1
    if previous == last and index > 0 and ARGV[starts[index]] == first_number then
      return {0, known_first, tonumber(known_count), last}
    end
    return {0, '', 0, last}
  end
end
local count = total - skipped
-- What an outbox forwards was emitted before, so it need not wait for a delayed event.
if kind == 'outbox:' then delayed_due = nil end

-- >>> overdue
-- What is due enters the log before anything that is added later. The clock is asked only if delayed events wait.
if delayed_due then
  local clock = redis.call('TIME')
  if (tonumber(delayed_due) or 0) <= clock[1] * 1000 + math.floor(clock[2] / 1000) then
    return redis.error_reply('OVERDUE due=' .. delayed_due)
  end
end
-- <<< overdue

local bound, full, losses = plan_trim(log, meta, size, count)
if full then
  return redis.error_reply(full)
end
local age = nil
if max_age and not bound then -- Without an age, nobody asks for the time.
-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock
  age = plan_age_if_due(log, meta, max_age, now)
end
local forgotten = not before and kind == 'producer:' and oldest_senders(numbers, kind) or {}
check_allowed('HSET', numbers, sender, '')

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

for i = skipped + 1, total do
  at = starts[i] + 2
  add(at, at + ARGV[at - 1] - 1, i == total)
end
if bound then trim(log, meta, bound, losses) elseif age then trim_age(log, meta, age.bound, age.now_ms) end
if forgotten[1] then redis.call('HDEL', numbers, unpack(forgotten)) end
redis.call('HSET', numbers, sender, previous .. ' ' .. first .. ' ' .. count .. ' ' .. ARGV[starts[skipped + 1]])
return {count, first, count, previous}
