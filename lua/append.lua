#!lua
-- append -- add events to a partition in the given order, at most once per producer and sequence number.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  producers   hash    runnel:{APP:SOURCE:N}:STREAM:producers
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream
-- ARGV[3]  hash        str     name of the hash from key bytes to partition
-- ARGV[4]  size        int     entries the partition may hold
-- ARGV[5]  policy      str     refuse, or drop_oldest to drop what no processor has passed
-- ARGV[6]  producer    str     who sends; one append in flight per producer and partition
-- ARGV[7]  sequence    int     1, 2, 3 ... per producer and partition
-- ARGV[8+] entries     str     1 to 1000 entries, each: the number of values, then fields and values in turn
-- REPLY    applied     int     1, or 0 for the repeat of an append that was applied (DUP)
-- REPLY    first       id      id of the first event; in those of the others the last part rises by one, and behind
--                              18446744073709551615 comes 0 of the next millisecond
-- REPLY    count       int     number of events
-- ERROR    BADARG      an argument is malformed or over a limit
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- ERROR    MISSING        the stream was deleted; deleted=MS; declare for partition 0, which tells if it is there again, and for this one
-- ERROR    FULL        no room, and retention may not make any; processor=NAME holds it back
-- ERROR    OUTOFORDER  the sequence is neither the last nor the next; last=STORED
-- ERROR    UNKNOWN_PRODUCER     the producer is not remembered and this is not its first append
-- WRITES   yes
-- BOUND    1000 entries added, 1000 removed; the last 1000 producers remembered, 1100 at most
-- VERSION  1
local log, meta, producers = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local policy, producer, sequence = ARGV[5], ARGV[6], ARGV[7]

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

-- >>> ids
local function newer(a, b)
  local a_ms, a_seq = string.match(a, '^0*(%d+)%-0*(%d+)$')
  local b_ms, b_seq = string.match(b, '^0*(%d+)%-0*(%d+)$')
  if a_ms ~= b_ms then
    return #a_ms > #b_ms or (#a_ms == #b_ms and a_ms > b_ms)
  end
  return #a_seq > #b_seq or (#a_seq == #b_seq and a_seq > b_seq)
end
-- <<< ids

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

-- >>> room
-- Returns the id below which entries must go so that `more` fit, or nil if none need to go; a refusal if they may not go;
-- and who loses how many. The entry at the lowest checkpoint always stays, unless the policy is to drop the oldest.
local function room(log_key, meta_key, limit, more)
  local over = math.min(redis.call('XLEN', log_key) + more - limit, 1000)
  if over <= 0 then return nil end
  local oldest = redis.call('XRANGE', log_key, '-', '+', 'COUNT', over + 1)
  if #oldest <= over then return nil, 'FULL processor= limit=' .. limit end
  local bound, groups, known = oldest[over + 1][1], {}, 0
  local function unread(behind)
    local number = 0
    for i = 1, over do
      if newer(oldest[i][1], behind) then number = number + 1 end
    end
    return number
  end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do
    local shown = named(group)
    groups[shown.name] = shown
  end
  local stored, dropped = redis.call('HGETALL', meta_key), {}
  for i = 1, #stored, 2 do
    local name = string.match(stored[i], '^passed:(.+)$')
    if name then
      known = known + 1
      if policy == 'drop_oldest' then
        local lost, group, read = unread(stored[i + 1]), groups[name], nil
        local ahead = lost > 0 and group and group['entries-read'] and unread(group['last-delivered-id']) or 0
        if ahead > 0 then read = string.format('%.0f', group['entries-read'] + ahead) end
        if lost > 0 then dropped[name] = {number = lost, read = read, last = oldest[over][1]} end
      elseif not groups[name] then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' group=missing'
      elseif newer(bound, stored[i + 1]) then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' checkpoint=' .. stored[i + 1]
      end
    end
  end
  if known == 0 and policy ~= 'drop_oldest' then return nil, 'FULL processor= limit=' .. limit end
  must('XTRIM', log_key, 'MINID', '=', bound)
  if next(dropped) then
    must('HINCRBY', meta_key, 'dropped:', '1')
    must('XGROUP', 'SETID', log_key, '-', '$')
  end
  return bound, nil, dropped
end

-- Makes that room. The consumer group of who loses something moves along: what is gone is no lag.
local function clear(log_key, meta_key, bound, dropped)
  redis.call('XTRIM', log_key, 'MINID', '=', bound)
  for name, loss in pairs(dropped) do
    redis.call('HINCRBY', meta_key, 'dropped:' .. name, loss.number)
    if loss.read then redis.pcall('XGROUP', 'SETID', log_key, name, loss.last, 'ENTRIESREAD', loss.read) end
  end
end
-- <<< room

local values = #ARGV
if #KEYS ~= 3 or values < 10 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. values)
elseif not string.find(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.find(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' or producer == '' then
  return redis.error_reply('BADARG field=' .. (hash == '' and 'hash' or 'producer'))
elseif not string.find(ARGV[4], '^%d+$') or #ARGV[4] > 15 or size < 2 then
  return redis.error_reply('BADARG field=size')
elseif policy ~= 'refuse' and policy ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=policy')
elseif not string.find(sequence, '^[1-9]%d*$') or #sequence > 15 then
  return redis.error_reply('BADARG field=sequence')
end
local count, at = 0, 8
while at <= values do
  local width = tonumber(ARGV[at])
  if not width or width < 2 or width > 1000 or width % 2 ~= 0 or at + width > values then
    return redis.error_reply('BADARG field=entries at=' .. at)
  end
  count, at = count + 1, at + width + 1
end
if count > 1000 or count >= size then
  return redis.error_reply('BADARG field=entries limit=' .. math.min(1000, size - 1))
end
local refusal, agreed = disagreement(meta)
if refusal then
  return redis.error_reply(refusal)
end
local deleted = not agreed and redis.call('HGET', meta, 'deleted')
if deleted then
  return redis.error_reply('MISSING deleted=' .. deleted)
end
local before = redis.call('HGET', producers, producer)
if before then
  local last = string.match(before, '^%d+')
  if last == sequence then
    local first, number = string.match(before, ' (%S+) (%d+)$')
    return {0, first, tonumber(number)}
  elseif tonumber(sequence) ~= last + 1 then
    return redis.error_reply('OUTOFORDER last=' .. last .. ' given=' .. sequence)
  end
elseif sequence ~= '1' then
  return redis.error_reply('UNKNOWN_PRODUCER producer=' .. producer .. ' given=' .. sequence)
end
local bound, full, dropped = room(log, meta, size, count)
if full then
  return redis.error_reply(full)
end

local silent = {}
if not before and redis.call('HLEN', producers) >= 1100 then
  -- Forget the 100 that were silent for longest. Ids only rise, whatever the clock does: filled up, they sort as text.
  local all, ages, zeros = redis.call('HGETALL', producers), {}, string.rep('0', 20)
  for i = 1, #all, 2 do
    local ms, seq = string.match(all[i + 1], ' (%d+)%-(%d+) ')
    ages[#ages + 1] = {string.sub(zeros .. (ms or ''), -20) .. string.sub(zeros .. (seq or ''), -20), all[i]}
  end
  table.sort(ages, function(a, b) return a[1] < b[1] end)
  for i = 1, 100 do silent[i] = ages[i][2] end
  must('HDEL', producers, producer)
end
must('HSET', producers, producer, '')

if not agreed then
  must('XADD', log, '*', 'f', 'v')
  redis.call('HSETNX', meta, 'protocol', protocol)
  redis.call('HSETNX', meta, 'partitions', partitions)
  redis.call('HSETNX', meta, 'hash', hash)
end
local first, id = nil, '*'
at = 8
while at <= values do
  local width = tonumber(ARGV[at])
  local added = redis.call('XADD', log, id, unpack(ARGV, at + 1, at + width))
  first, at = first or added, at + width + 1
  local ends = #added > 20 and string.find(added, '-18446744073709551615', 1, true)
  if at <= values and (id == '*' or ends) then
    -- All in one millisecond, and the next where its numbers end, which only ids that others made are near to. A number
    -- that is not exact any more is left to Redis: such an id is ahead of every clock.
    local ms = string.match(added, '^%d+')
    if ends then ms = tonumber(ms) < 2 ^ 53 and string.format('%.0f', ms + 1) end
    id = ms and ms .. '-*' or '*'
  end
end
if bound then clear(log, meta, bound, dropped) end
if silent[1] then redis.call('HDEL', producers, unpack(silent)) end
-- A literal where it can be: to make a number into text is slow.
redis.call('HSET', producers, producer, sequence .. ' ' .. first .. (count == 1 and ' 1' or ' ' .. count))
return {1, first, count}
