#!lua flags=allow-oom
-- park_again -- a replayed event has failed again: its key stays parked, and is replayed no further.
-- KEYS[1]  state        hash  runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  parked_keys  hash  runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[3]  replay       hash  runnel:{APP:SOURCE:N}:STREAM:replay:PROCESSOR
-- ARGV[1]  epoch        int   of the token
-- ARGV[2]  nonce        str   of the token
-- ARGV[3]  key          str   the key of the event
-- ARGV[4]  failure      str   the event, how often it has failed, and how, with spaces in between; at most 1200 bytes
-- REPLY    changed      int   1 if the key was replayed, else 0, as when the call repeats one that was applied
-- ERROR    BADARG       an argument is malformed
-- ERROR    FENCED       the token is not the partition's, or was released; epoch=STORED
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local state, parked_keys, replay = KEYS[1], KEYS[2], KEYS[3]
local epoch, nonce, key, failure = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 3 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(failure, '^%d+%-%d+ %d+ ') or #failure > 1200 then
  return redis.error_reply('BADARG field=failure limit=1200')
end
local stored_epoch, stored_nonce, released = unpack(redis.call('HMGET', state, 'epoch', 'nonce', 'released'))
if stored_epoch ~= epoch or stored_nonce ~= nonce or released == '1' then
  return redis.error_reply('FENCED epoch=' .. (stored_epoch or '0'))
end
local number = string.match(redis.call('HGET', parked_keys, key) or '', '^%d+')
if not number or redis.call('HEXISTS', replay, key) == 0 then
  return 0
end

check_allowed('HDEL', replay, 'f')
check_allowed('HSET', parked_keys, 'f', 'v')
check_allowed('HSET', state, 'f', 'v')
redis.call('HDEL', replay, key)
redis.call('HSET', parked_keys, key, number .. ' ' .. failure)
redis.call('HSET', state, 'replay', redis.call('HLEN', replay))
return 1
