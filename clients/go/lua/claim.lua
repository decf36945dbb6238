#!lua flags=allow-oom
-- claim -- take the lease on a partition under a grant of the group: issue a new token and say where to continue.
-- KEYS[1]  log          stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta         hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  protocol     int     protocol version of the caller
-- ARGV[2]  partitions   int     partition count of the stream
-- ARGV[3]  hash         str     name of the hash function from key bytes to partition
-- ARGV[4]  processor    str     name of the processor and of its consumer group
-- ARGV[5]  member       str     id of the member that claims
-- ARGV[6]  grant        int     the group's grant for this partition
-- ARGV[7]  nonce        str     16 to 64 characters, cryptographically random, new for every claim
-- ARGV[8]  accept       str     empty, or the number of lost events in an earlier reply, to accept that loss
-- REPLY    epoch        int     the token is this epoch and the nonce
-- REPLY    checkpoint   id      the last committed event
-- REPLY    processed    int     events committed on this partition so far
-- REPLY    attempts     int     failures of the event below, deaths included
-- REPLY    event        id      the event that failed, or empty
-- REPLY    unclean_tenures int   unclean tenures in a row without progress, while there were events to process
-- REPLY    paused       int     1 if an operator has paused the processor
-- REPLY    quarantined  int     1 if the partition is quarantined
-- REPLY    lost         int     events that disappeared before they were processed and are not accepted yet, -1 for none
-- REPLY    exact        int     1 if that number is exact, 0 if it is a lower bound
-- REPLY    checkpoint_exists int  1 if the entry at the checkpoint exists
-- REPLY    next_id      id      the first entry after the checkpoint, or empty
-- REPLY    deaths       int     unclean tenures that ended while the event above was recorded as started
-- REPLY    previous_owner str   the member that owned the partition last and did not release it, or empty
-- REPLY    outbox       int     entries in the processor's outbox, which the owner must forward
-- REPLY    parked       int     events of the processor that are parked
-- REPLY    replay       int     keys whose parked events the owner must replay before it reads the log
-- ERROR    BADARG       an argument is malformed
-- ERROR    MISMATCH     the stored partition count, hash or protocol differs
-- ERROR    UNREGISTERED the processor is not registered here; removed=1 if an operator has removed it
-- ERROR    STALE_GRANT  the grant is not newer than the last one that was used here; seen=GRANT
-- ERROR    MISSING      the log or the consumer group is missing: register again
-- REPEAT   recognised by grant, nonce: the same token, and the rest as it is now, until a newer grant is used
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
local refusal = contract_mismatch(meta)
if refusal then
  return redis.error_reply(refusal)
end
local stored_checkpoint, stored_read, epoch, stored_nonce, released, stored_grant, processed, lost_before, attempts, event,
  unclean, paused, quarantined, started, deaths, owner, previous_owner, outbox_last, outbox_done, parked, replay =
  unpack(redis.call('HMGET', state, 'checkpoint', 'read', 'epoch', 'nonce', 'released', 'grant', 'processed', 'lost',
  'attempts', 'event', 'unclean_tenures', 'paused', 'quarantined', 'started', 'deaths', 'owner', 'previous_owner',
  'outbox_last', 'outbox_done', 'parked', 'replay'))
parked, replay = tonumber(parked) or 0, tonumber(replay) or 0
local checkpoint, read = stored_checkpoint, tonumber(string.match(stored_read or '', '^%d+$'))
if not stored_checkpoint or redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
  local removed = redis.call('HEXISTS', meta, 'removed:' .. processor)
  return redis.error_reply('UNREGISTERED processor=' .. processor .. ' removed=' .. removed)
end
local seen = tonumber(stored_grant) or 0
local repeated = seen == tonumber(grant) and stored_nonce == nonce and released ~= '1'
if tonumber(grant) <= seen and not repeated then
  return redis.error_reply('STALE_GRANT seen=' .. string.format('%.0f', seen))
end
local group
if redis.call('EXISTS', log) == 1 then
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    if each[2] == processor then group = to_table(each) end
  end
end
if not group then
  return redis.error_reply('MISSING processor=' .. processor)
end

-- Compare what the log holds with what it should hold: see "Finding losses" in the README of this folder.
local info = to_table(redis.call('XINFO', 'STREAM', log))
local added, length, last = info['entries-added'], info['length'], info['last-generated-id']
local first = info['recorded-first-entry-id']
local lost, exact, new_checkpoint, new_read = -1, 1, checkpoint, read
if newer(checkpoint, last) then
  -- The log was created again or went back in time: perhaps nobody has seen what it holds now.
  lost, exact, new_checkpoint, new_read = 0, 0, '0-0', added - length
elseif length == 0 or newer(first, checkpoint) then
  new_read = added - length
  if new_read > read then lost = new_read - read end
  if new_read < read then lost, exact = 0, 0 end
elseif read ~= added and not newer(info['last-entry'][1], checkpoint) then
  -- No entry is left after the checkpoint, so all that was added beyond what was read has disappeared.
  new_read = added
  if added > read then lost = added - read else lost, exact = 0, 0 end
end

local accepted = lost >= 0 and accept == string.format('%.0f', lost)
if accepted then checkpoint, read = new_checkpoint, new_read end
check_allowed('HSET', state, 'epoch', '0')
check_allowed('XRANGE', log, '-', '+')
if (group['last-delivered-id'] ~= checkpoint or group['entries-read'] ~= read) and (lost < 0 or accepted) then
  -- First, because no other write here can fail. Until a loss is accepted, the group stays where retention has moved it
  -- when it dropped entries.
  redis.call('XGROUP', 'SETID', log, processor, checkpoint, 'ENTRIESREAD', read)
end
attempts, event, unclean = tonumber(attempts) or 0, event or '', tonumber(unclean) or 0
deaths, previous_owner = tonumber(deaths) or 0, previous_owner or ''
if not repeated then
  previous_owner = ''
  if epoch and released ~= '1' then
    -- The owner before neither released its lease nor lost it to a seek: it died or lost its connection. If there was no
    -- event left to process, no event can be the cause.
    previous_owner = owner or ''
    local behind = redis.call('XRANGE', log, '(' .. stored_checkpoint, '+', 'COUNT', 1)
    if replay > 0 or #behind > 0 then unclean = unclean + 1 end
    if started and started ~= '' then
      if event ~= started then attempts, deaths = 0, 0 end
      event, attempts, deaths = started, attempts + 1, deaths + 1
    end
  end
  epoch = string.format('%.0f', math.max((tonumber(epoch) or 0) + 1, now))
  redis.call('HSET', state, 'owner', member, 'epoch', epoch, 'nonce', nonce, 'grant', grant, 'released', '0',
    'attempts', attempts, 'event', event, 'deaths', deaths, 'unclean_tenures', unclean, 'started', '',
    'previous_owner', previous_owner, 'moved_at', string.format('%.0f', now))
  local took_over = previous_owner ~= ''
  note_lease(state, took_over and 'took_over' or 'claimed', epoch, member, took_over and previous_owner)
end
if accepted then
  redis.call('HSET', state, 'checkpoint', checkpoint, 'read', read, 'lost', (tonumber(lost_before) or 0) + lost)
  redis.call('HSET', meta, 'checkpoint:' .. processor, checkpoint)
  note_lease(state, 'lost', epoch, member, string.format('%.0f', lost))
  lost, exact = -1, 1
end
local checkpoint_exists = #redis.call('XRANGE', log, checkpoint, checkpoint, 'COUNT', 1)
local next_entry = redis.call('XRANGE', log, '(' .. checkpoint, '+', 'COUNT', 1)[1]
return {tonumber(epoch), checkpoint, tonumber(processed) or 0, attempts, event, unclean, tonumber(paused) or 0,
  tonumber(quarantined) or 0, lost, exact, checkpoint_exists, next_entry and next_entry[1] or '', deaths, previous_owner,
  (tonumber(outbox_last) or 0) - (tonumber(outbox_done) or 0), parked, replay}
