#!lua flags=allow-oom
-- declare -- store or compare what all clients of a stream must agree on; for partition 0 before the first append or register.
-- KEYS[1]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream, 1 to 10000
-- ARGV[3]  hash        str     name of the hash function from key bytes to partition
-- REPLY    declared    int     1 if this call stored it, 0 if it was stored already
-- ERROR    BADARG      an argument is malformed or over a limit
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- REPEAT   harmless: 0
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local meta = KEYS[1]
local protocol, partitions, hash = ARGV[1], ARGV[2], ARGV[3]

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

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 1 or #ARGV ~= 3 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.match(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
end
local refusal, declared = contract_mismatch(meta)
if refusal then
  return redis.error_reply(refusal)
end

if not declared and redis.call('HGET', meta, 'deleted') then
  -- The stream is created again. Deleting every field deletes the key, and with it its time to live.
  check_allowed('HSETNX', meta, 'hash', hash)
  local fields = redis.call('HGETALL', meta)
  for i = 1, #fields, 2 do redis.call('HDEL', meta, fields[i]) end
end
redis.call('HSETNX', meta, 'partitions', partitions)
redis.call('HSETNX', meta, 'hash', hash)
return redis.call('HSETNX', meta, 'protocol', protocol)
