#!lua flags=allow-oom
-- declare -- make sure that a stream is seen alike by all: called for partition 0 before a client's first append or register.
-- KEYS[1]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream, 1 to 10000
-- ARGV[3]  hash        str     name of the hash from key bytes to partition
-- REPLY    agreed      int     1 if this call was the first to say so, else 0
-- ERROR    BADARG      an argument is malformed or over a limit
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local meta = KEYS[1]
local protocol, partitions, hash = ARGV[1], ARGV[2], ARGV[3]

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

-- >>> allowed
-- Redis takes nothing back where a user may not run what comes behind the first write: so ask before it. What is refused
-- is called all the same, as nothing is written yet, for the refusal in Redis's own words.
local function must(...)
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
local refusal, agreed = disagreement(meta)
if refusal then
  return redis.error_reply(refusal)
end

if not agreed and redis.call('HGET', meta, 'deleted') then
  -- Wanted again. With the last of its marks the key goes, and with it the time that it had left.
  must('HSETNX', meta, 'hash', hash)
  local marks = redis.call('HGETALL', meta)
  for i = 1, #marks, 2 do redis.call('HDEL', meta, marks[i]) end
end
redis.call('HSETNX', meta, 'partitions', partitions)
redis.call('HSETNX', meta, 'hash', hash)
return redis.call('HSETNX', meta, 'protocol', protocol)
