#!lua flags=allow-oom
-- clear_table -- delete a table on one partition and forget its writer; end the writer's lease, whose owner remembers values.
-- KEYS[1]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[2]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[3]  values     hash    runnel:{APP:SOURCE:N}:STREAM:table:NAME
-- KEYS[4+] expiry     mixed   if meta has a field expires:NAME: runnel:{APP:SOURCE:N}:STREAM:table:NAME:expiry
-- ARGV[1]  processor  str     the processor that writes the table here
-- ARGV[2]  nonce      str     16 to 64 characters, cryptographically random; the last call, repeated, is recognised by it
-- REPLY    deleted    int     number of fields of the table; 0 if the call repeats one that was applied
-- ERROR    BADARG     an argument is malformed, or the key of the expiry is missing
-- ERROR    NOT_WRITER another processor writes this table; table=NAME writer=PROCESSOR
-- REPEAT   recognised by nonce: 0
-- WRITES   yes
-- BOUND    constant; the fields are freed in the background
-- VERSION  1
local meta, state, values = KEYS[1], KEYS[2], KEYS[3]
local processor, nonce = ARGV[1], ARGV[2]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

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

local name = string.match(values or '', ':table:([^:]+)$')
local expiry = unpack(KEYS, 4)
if #KEYS < 3 or #KEYS > 4 or #ARGV ~= 2 or not name or (expiry and expiry ~= values .. ':expiry') then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif processor == '' or #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=' .. (processor == '' and 'processor' or 'nonce'))
end
local writer, fields = redis.call('HGET', meta, 'table:' .. name), redis.call('HLEN', values)
local epoch, last_clear = unpack(redis.call('HMGET', state, 'epoch', 'last_clear'))
if last_clear == nonce then
  return 0
elseif writer and writer ~= processor then
  return redis.error_reply('NOT_WRITER table=' .. name .. ' writer=' .. writer)
elseif not writer and fields == 0 then
  return 0
elseif not expiry and redis.call('HEXISTS', meta, 'expires:' .. name) == 1 then
  return redis.error_reply('BADARG field=expiry')
end

check_allowed('UNLINK', unpack(KEYS, 3))
check_allowed('HDEL', meta, 'table:')
check_allowed('HSET', state, 'released', '1')
redis.call('UNLINK', unpack(KEYS, 3))
redis.call('HDEL', meta, 'table:' .. name, 'expires:' .. name)
if epoch then
  -- The owner of the lease has read values that are gone now, and would add to them. So it must claim again.
  redis.call('HSET', state, 'epoch', string.format('%.0f', math.max((tonumber(epoch) or 0) + 1, now)), 'nonce', nonce,
    'released', '1', 'last_clear', nonce)
  note_lease(state, 'cleared', redis.call('HMGET', state, 'epoch')[1], nil, name)
end
return fields
