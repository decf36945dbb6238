#!lua flags=allow-oom
-- due -- which postponed events of a processor are due. It moves none: they stay until the owner of the lease has finished them.
-- KEYS[1]  state        hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  parked       stream  runnel:{APP:SOURCE:N}:STREAM:parked:PROCESSOR
-- KEYS[3]  parked_keys  hash    runnel:{APP:SOURCE:N}:STREAM:parked_keys:PROCESSOR
-- KEYS[4]  postponed    zset    runnel:{APP:SOURCE:N}:STREAM:postponed:PROCESSOR
-- ARGV[1]  limit        int     how many events to report, 1 to 100: those that are due first
-- REPLY    next_in      int     ms until the first event that is not due yet will be, -1 if there is none
-- REPLY    gone         int     postponed events whose entries somebody else has removed; no later call reports them
-- REPLY    events       str     for each that is due: the id of its entry in parked; its value in parked_keys; the number of its
--                               fields and values, then these in turn, as in parked
-- ERROR    BADARG       an argument is malformed
-- REPEAT   harmless: what is due by then; gone is 0
-- WRITES   yes
-- BOUND    100 events, or as many as have 1 MB together
-- VERSION  1
local state, parked, parked_keys, postponed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit = ARGV[1]

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

-- >>> postponed
-- Notes in the state how many events are postponed, and when the first of them is due.
local function note_postponed(state_key, postponed_key)
  local first = redis.call('ZRANGE', postponed_key, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('HSET', state_key, 'postponed', redis.call('ZCARD', postponed_key), 'postponed_due',
      string.format('%.0f', first))
  else
    redis.call('HDEL', state_key, 'postponed', 'postponed_due')
  end
end
-- <<< postponed

if #KEYS ~= 4 or #ARGV ~= 1 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(limit, '^[1-9]%d*$') or tonumber(limit) > 100 then
  return redis.error_reply('BADARG field=limit limit=100')
end
local reply, gone, bytes = {-1, 0}, {}, 0
for _, entry in ipairs(redis.call('ZRANGE', postponed, '-inf', string.format('%.0f', now), 'BYSCORE', 'LIMIT', 0, limit)) do
  local found = bytes < 1000000 and redis.call('XRANGE', parked, entry, entry)[1]
  if found then
    local fields = found[2]
    reply[#reply + 1] = entry
    reply[#reply + 1] = redis.call('HGET', parked_keys, fields[2]) or '0'
    reply[#reply + 1] = #fields
    for _, value in ipairs(fields) do
      bytes = bytes + #value
      reply[#reply + 1] = value
    end
  elseif bytes < 1000000 then
    gone[#gone + 1] = entry
  end
end
if gone[1] then
  redis.call('HLEN', state) -- If this is no hash, the error of Redis is the reply.
  check_allowed('ZREM', postponed, '0-0')
  check_allowed('HSET', state, 'f', 'v')
  check_allowed('HDEL', state, 'f')
  redis.call('ZREM', postponed, unpack(gone))
  note_postponed(state, postponed)
end
local after = redis.call('ZRANGE', postponed, '(' .. string.format('%.0f', now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
if after then reply[1] = math.max(1, after - now) end
reply[2] = #gone
return reply
