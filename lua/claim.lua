#!lua flags=allow-oom
-- claim -- take the lease on a partition under a grant of the group: issue a new token and say where to go on.
-- KEYS[1]  log          stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta         hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  protocol     int     protocol version of the caller
-- ARGV[2]  partitions   int     partition count of the stream
-- ARGV[3]  hash         str     name of the hash from key bytes to partition
-- ARGV[4]  processor    str     name of the processor and of its consumer group
-- ARGV[5]  member       str     who claims
-- ARGV[6]  grant        int     the group's grant for this partition
-- ARGV[7]  nonce        str     16 to 64 characters, cryptographically random, new for every claim
-- ARGV[8]  accept       str     empty, or the number of lost events that an earlier reply named, to accept the loss
-- REPLY    epoch        int     the token is epoch and nonce
-- REPLY    checkpoint   id      the last finished event
-- REPLY    processed    int     events finished on this partition so far
-- REPLY    attempts     int     failures of the event below, deaths included
-- REPLY    event        id      the event that failed, or empty
-- REPLY    tenures      int     unclean tenures in a row without progress, while there was something to do
-- REPLY    paused       int     1 if an operator has paused the processor
-- REPLY    quarantined  int     1 if the partition is quarantined
-- REPLY    lost         int     unfinished events that are gone and not yet accepted, -1 for none
-- REPLY    exact        int     1 if that number is exact, 0 if it is a lower bound
-- REPLY    anchored     int     1 if the entry at the checkpoint is there to be looked at
-- REPLY    following    id      the first entry behind the checkpoint, or empty
-- REPLY    deaths       int     unclean tenures that ended while the event above was recorded as started
-- REPLY    after        str  the member that held it last and did not give it back, or empty
-- ERROR    BADARG       an argument is malformed
-- ERROR    MISMATCH     the stored partition count, hash or protocol differs
-- ERROR    UNREGISTERED the processor is not registered here; removed=1 if an operator has removed it
-- ERROR    STALE_GRANT        the grant is not newer than the one seen; seen=GRANT
-- ERROR    MISSING         the log or the consumer group is missing: register again
-- WRITES   yes
-- BOUND    constant, plus the groups of one stream
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, processor = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local member, grant, nonce, accept = ARGV[5], ARGV[6], ARGV[7], ARGV[8]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

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

if #KEYS ~= 3 or #ARGV ~= 8 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.match(grant, '^[1-9]%d*$') or #grant > 15 then
  return redis.error_reply('BADARG field=grant')
elseif #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=nonce')
elseif processor == '' or member == '' then
  return redis.error_reply('BADARG field=' .. (processor == '' and 'processor' or 'member'))
elseif not string.match(accept, '^%d*$') then
  return redis.error_reply('BADARG field=accept')
end
local refusal = disagreement(meta)
if refusal then
  return redis.error_reply(refusal)
end
local is = redis.call('HMGET', state, 'checkpoint', 'read', 'epoch', 'nonce', 'released', 'grant', 'processed', 'lost',
  'attempts', 'event', 'tenures', 'paused', 'quarantined', 'started', 'deaths', 'owner', 'after')
local checkpoint, read = is[1], tonumber(string.match(is[2] or '', '^%d+$'))
if not checkpoint or redis.call('HEXISTS', meta, 'passed:' .. processor) == 0 then
  local removed = redis.call('HEXISTS', meta, 'removed:' .. processor)
  return redis.error_reply('UNREGISTERED processor=' .. processor .. ' removed=' .. removed)
end
local seen = tonumber(is[6]) or 0
local repeated = seen == tonumber(grant) and is[4] == nonce and is[5] ~= '1'
if tonumber(grant) <= seen and not repeated then
  return redis.error_reply('STALE_GRANT seen=' .. string.format('%.0f', seen))
end
local group
if redis.call('EXISTS', log) == 1 then
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    if each[2] == processor then group = each end
  end
end
if not group then
  return redis.error_reply('MISSING processor=' .. processor)
end

-- What is there, against what should be: see "Finding losses" in the README of this folder.
local info = named(redis.call('XINFO', 'STREAM', log))
local added, length, last = info['entries-added'], info['length'], info['last-generated-id']
local first = info['recorded-first-entry-id']
local lost, exact, position, position_read = -1, 1, checkpoint, read
if newer(checkpoint, last) then
  -- The log was recreated or went back in time: what it holds may never have been seen.
  lost, exact, position, position_read = 0, 0, '0-0', added - length
elseif length == 0 or newer(first, checkpoint) then
  position_read = added - length
  if position_read > read then lost = position_read - read end
  if position_read < read then lost, exact = 0, 0 end
elseif read ~= added and not newer(info['last-entry'][1], checkpoint) then
  -- Nothing is left to be read, so whatever was added beyond what was read is gone.
  position_read = added
  if added > read then lost = added - read else lost, exact = 0, 0 end
end

local accepted = lost >= 0 and accept == string.format('%.0f', lost)
if accepted then checkpoint, read = position, position_read end
local shown, shown_read
for i = 1, #group, 2 do
  if group[i] == 'last-delivered-id' then shown = group[i + 1] end
  if group[i] == 'entries-read' then shown_read = group[i + 1] end
end
must('HSET', state, 'epoch', '0')
must('XRANGE', log, '-', '+')
if (shown ~= checkpoint or shown_read ~= read) and (lost < 0 or accepted) then
  -- First, because it is the one write that could fail. Until a loss is accepted, the group stays where retention that
  -- dropped something has moved it.
  redis.call('XGROUP', 'SETID', log, processor, checkpoint, 'ENTRIESREAD', read)
end
local epoch, attempts, event, tenures = is[3], tonumber(is[9]) or 0, is[10] or '', tonumber(is[11]) or 0
local deaths, after = tonumber(is[15]) or 0, is[17] or ''
if not repeated then
  after = ''
  if epoch and is[5] ~= '1' then
    after = is[16] or ''
    -- The holder before neither released nor was set aside: it died, or was cut off. Where nothing was left to be
    -- processed, no event can have been the reason.
    if #redis.call('XRANGE', log, '(' .. is[1], '+', 'COUNT', 1) > 0 then tenures = tenures + 1 end
    if is[14] and is[14] ~= '' then
      if event ~= is[14] then attempts, deaths = 0, 0 end
      event, attempts, deaths = is[14], attempts + 1, deaths + 1
    end
  end
  epoch = string.format('%.0f', math.max((tonumber(epoch) or 0) + 1, now))
  redis.call('HSET', state, 'owner', member, 'epoch', epoch, 'nonce', nonce, 'grant', grant, 'released', '0',
    'attempts', attempts, 'event', event, 'deaths', deaths, 'tenures', tenures, 'started', '',
    'after', after, 'moved', string.format('%.0f', now))
end
if accepted then
  redis.call('HSET', state, 'checkpoint', checkpoint, 'read', read, 'lost', (tonumber(is[8]) or 0) + lost)
  redis.call('HSET', meta, 'passed:' .. processor, checkpoint)
  lost, exact = -1, 1
end
local anchored = #redis.call('XRANGE', log, checkpoint, checkpoint, 'COUNT', 1)
local following = redis.call('XRANGE', log, '(' .. checkpoint, '+', 'COUNT', 1)[1]
return {tonumber(epoch), checkpoint, tonumber(is[7]) or 0, attempts, event, tenures, tonumber(is[12]) or 0,
  tonumber(is[13]) or 0, lost, exact, anchored, following and following[1] or '', deaths, after}
