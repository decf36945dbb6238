#!lua
-- promote -- move the events of a partition that are due into its log, in the order in which they are due; anybody may call it.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  delayed     zset    runnel:{APP:SOURCE:N}:STREAM:delayed
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream
-- ARGV[3]  hash        str     name of the hash function from key bytes to partition
-- ARGV[4]  size        int     entries that the partition may hold
-- ARGV[5]  when_full   str     refuse; drop_unread to drop entries while the stream has neither a processor nor a consumer
--                              group, else refuse; or drop_oldest to drop entries that no processor has committed
-- REPLY    moved       int     events that this call moved
-- REPLY    waiting     int     events that wait now
-- REPLY    next_in     int     ms until the next one is due, 0 if it is due now, -1 if none waits
-- REPLY    lost        int     events that have disappeared, or cannot be read, and that no call has reported before
-- ERROR    BADARG      an argument is malformed
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- ERROR    FULL        no room for any, and retention must not remove anything; processor=NAME has not committed the oldest
--                      entries
-- REPEAT   harmless: 0, and what has become due since is moved
-- WRITES   yes
-- BOUND    200 events moved, or as many as have 1 MB together; 1000 entries removed
-- VERSION  1
local log, meta, delayed = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, size, when_full = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

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

-- The fields and values of a member, or nil if it is none that `append_later` has written.
local function entry_of(member)
  local head, body = string.match(member, '^%d+ ([%d ]+)\n(.*)$')
  if not head then return nil end
  local entry, at = {}, 1
  for length in string.gmatch(head, '%d+') do
    entry[#entry + 1] = string.sub(body, at, at + length - 1)
    at = at + length
  end
  if #entry < 2 or #entry > 1000 or #entry % 2 ~= 0 or at ~= #body + 1 then return nil end
  return entry
end

if #KEYS ~= 3 or #ARGV ~= 5 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end

if not string.find(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.find(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
elseif not string.find(ARGV[4], '^%d+$') or #ARGV[4] > 15 or size < 2 then
  return redis.error_reply('BADARG field=size')
elseif when_full ~= 'refuse' and when_full ~= 'drop_unread' and when_full ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=when_full')
end

local refusal, declared, next_due = contract_mismatch(meta)
if refusal then
  return redis.error_reply(refusal)
end
local waiting = redis.call('ZCARD', delayed)
local counted, lost_before = unpack(redis.call('HMGET', meta, 'delayed', 'delayed_lost'))
counted = tonumber(string.match(counted or '', '^%d+$')) or 0
if waiting == 0 and counted == 0 and not next_due then return {0, 0, -1, 0} end

-- A few at a time, because one may have 1 MB. The first one that is due later ends it.
local due, entries, bytes, after = {}, {}, 0, nil
while not after and #due < 200 and bytes < 1000000 do
  local page = redis.call('ZRANGE', delayed, #due, #due + 9, 'WITHSCORES')
  for i = 1, #page, 2 do
    if tonumber(page[i + 1]) > now then after = tonumber(page[i + 1]) end
    if after or #due == 200 or bytes >= 1000000 then break end
    due[#due + 1], bytes = page[i], bytes + #page[i]
  end
  if #page < 20 then break end
end
for i, member in ipairs(due) do entries[i] = entry_of(member) or false end

-- If there is no room for all of them, as many as have room; if there is none at all, one for which retention can make it.
local number, bound, losses = #due, nil, nil
if number > 0 then
  local full
  bound, full, losses = plan_trim(log, meta, size, number)
  local room = size - redis.call('XLEN', log)
  if full and room > 0 then
    number = math.min(number, room)
  elseif full then
    number = 1
    bound, full, losses = plan_trim(log, meta, size, 1)
    if full then
      return redis.error_reply(full)
    end
  end
  check_allowed('XADD', log, '*', 'f', 'v')
  check_allowed('ZREMRANGEBYRANK', delayed, '0', '0')
end
check_allowed('HSET', meta, 'delayed', '0')
check_allowed('HDEL', meta, 'delayed_due')

if number > 0 then
  if not declared then
    redis.call('HSETNX', meta, 'protocol', protocol)
    redis.call('HSETNX', meta, 'partitions', partitions)
    redis.call('HSETNX', meta, 'hash', hash)
  end
  for i = 1, number do
    if entries[i] then redis.call('XADD', log, '*', unpack(entries[i])) end
  end
  redis.call('ZREMRANGEBYRANK', delayed, 0, number - 1)
  if bound then trim(log, meta, bound, losses) end
end
local lost = math.max(0, counted - waiting)
for i = 1, number do
  if not entries[i] then lost = lost + 1 end
end
waiting = waiting - number
if lost > 0 then
  lost_before = tonumber(string.match(lost_before or '', '^%d+$')) or 0
  redis.call('HSET', meta, 'delayed_lost', string.format('%.0f', lost_before + lost))
end
if waiting == 0 then
  redis.call('HDEL', meta, 'delayed', 'delayed_due')
  return {number, 0, -1, lost}
end
local first = tonumber(redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2])
redis.call('HSET', meta, 'delayed', waiting, 'delayed_due', string.format('%.0f', first))
return {number, waiting, math.max(0, first - now), lost}
