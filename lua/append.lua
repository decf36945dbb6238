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
-- REPLY    first       id      id of the first event; the others follow by one in its last part
-- REPLY    count       int     number of events
-- ERROR    BADARG      an argument is malformed or over a limit
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- ERROR    FULL        no room, and retention may not make any; processor=NAME holds it back
-- ERROR    OUTOFORDER  the sequence is neither the last nor the next; last=STORED
-- ERROR    UNKNOWN     the producer is not remembered and this is not its first append
-- WRITES   yes
-- BOUND    1000 entries added, 1000 removed, 1000 producers remembered
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

-- >>> room
-- Returns the id below which entries must go so that `more` fit, or nil if none need to go;
-- and a refusal if they may not go. The entry at the lowest checkpoint always stays.
local function room(log_key, meta_key, limit, more)
  local over = math.min(redis.call('XLEN', log_key) + more - limit, 1000)
  if over <= 0 then return nil end
  local oldest = redis.call('XRANGE', log_key, '-', '+', 'COUNT', over + 1)
  if #oldest <= over then return nil, 'FULL processor= limit=' .. limit end
  local bound, groups, known = oldest[over + 1][1], {}, 0
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do groups[group[2]] = true end
  local stored, dropped = redis.call('HGETALL', meta_key), {}
  for i = 1, #stored, 2 do
    local name = string.match(stored[i], '^passed:(.+)$')
    if name then
      known = known + 1
      if policy == 'drop_oldest' then
        local unread = 0
        for j = 1, over do
          if newer(oldest[j][1], stored[i + 1]) then unread = unread + 1 end
        end
        if unread > 0 then dropped[name] = unread end
      elseif not groups[name] then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' group=missing'
      elseif newer(bound, stored[i + 1]) then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' checkpoint=' .. stored[i + 1]
      end
    end
  end
  if known == 0 and policy ~= 'drop_oldest' then return nil, 'FULL processor= limit=' .. limit end
  return bound, nil, dropped
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
  return redis.error_reply('UNKNOWN producer=' .. producer .. ' given=' .. sequence)
end
local bound, full, dropped = room(log, meta, size, count)
if full then
  return redis.error_reply(full)
end

if not agreed then
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
  if id == '*' and at <= values then id = string.match(first, '^%d+') .. '-*' end
end
if bound then
  redis.call('XTRIM', log, 'MINID', '=', bound)
  for name, number in pairs(dropped) do redis.call('HINCRBY', meta, 'dropped:' .. name, number) end
end
if not before and redis.call('HLEN', producers) >= 1000 then
  -- Forget the tenth that was silent for longest, by the server time in the ids of their last events.
  local all, ages = redis.call('HGETALL', producers), {}
  for i = 1, #all, 2 do ages[#ages + 1] = {string.match(all[i + 1], ' (%d+)%-') + 0, all[i]} end
  table.sort(ages, function(a, b) return a[1] < b[1] end)
  for i = 1, 100 do redis.call('HDEL', producers, ages[i][2]) end
end
-- A literal where it can be: to make a number into text is slow.
redis.call('HSET', producers, producer, sequence .. ' ' .. first .. (count == 1 and ' 1' or ' ' .. count))
return {1, first, count}
