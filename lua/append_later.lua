#!lua
-- append_later -- keep events that enter the log of a partition when they are due, once per request.
-- KEYS[1]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[2]  delayed     zset    runnel:{APP:SOURCE:N}:STREAM:delayed
-- KEYS[3]  request     string  runnel:{APP:SOURCE:N}:STREAM:delayed:KEY
-- ARGV[1]  protocol    int     protocol version of the caller
-- ARGV[2]  partitions  int     partition count of the stream
-- ARGV[3]  hash        str     name of the hash function from key bytes to partition
-- ARGV[4]  size        int     events that may wait here, as many as entries that the partition may hold
-- ARGV[5]  kind        str     at, or delay
-- ARGV[6]  ms          int     ms since 1970, or ms from now; at most 366 days ahead. What is past is due now
-- ARGV[7]  window      int     ms for which the request is remembered, from 1; a repeat does not make it longer
-- ARGV[8+] entries     str     1 to 1000 entries, each: the number of values, then fields and values in turn
-- REPLY    added       int     1, or 0 if the call repeats one that was applied
-- REPLY    due         int     when the events are due, in ms since 1970
-- REPLY    first       int     order number of the first event; the next ones have the next numbers
-- REPLY    count       int     number of events
-- ERROR    BADARG      an argument is malformed or over a limit
-- ERROR    MISMATCH    the stored partition count, hash or protocol differs
-- ERROR    MISSING     the stream was deleted; deleted=MS; declare partition 0, to learn if it exists again, then this one
-- ERROR    FULL        too many events wait here; delayed=NUMBER limit=NUMBER
-- PUBLISHES runnel:{APP:STREAM}:delayed
-- REPEAT   recognised by request: 0, and due, first and count of the first call, within the window
-- WRITES   yes
-- BOUND    1000 events added
-- VERSION  1
local meta, delayed, request = KEYS[1], KEYS[2], KEYS[3]
local protocol, partitions, hash, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local kind, ms, window = ARGV[5], ARGV[6], ARGV[7]

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

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

local values = #ARGV
if #KEYS ~= 3 or values < 10 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. values)
elseif not string.find(protocol, '^%d+$') or #protocol > 9 then
  return redis.error_reply('BADARG field=protocol')
elseif not string.find(partitions, '^[1-9]%d*$') or tonumber(partitions) > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif hash == '' then
  return redis.error_reply('BADARG field=hash')
elseif not string.find(ARGV[4], '^%d+$') or #ARGV[4] > 15 or size < 2 then
  return redis.error_reply('BADARG field=size')
elseif kind ~= 'at' and kind ~= 'delay' then
  return redis.error_reply('BADARG field=kind')
elseif not string.find(ms, '^%d+$') or #ms > 15 then
  return redis.error_reply('BADARG field=ms')
elseif not string.find(window, '^[1-9]%d*$') or #window > 15 then
  return redis.error_reply('BADARG field=window')
end
local prefix = string.match(meta, '^(.*):meta$')
local key = prefix and string.sub(request, #prefix + 10)
if not prefix or delayed ~= prefix .. ':delayed' or request ~= delayed .. ':' .. key or key == '' or #key > 1000 then
  return redis.error_reply('BADARG field=request')
end
local due = kind == 'delay' and now + tonumber(ms) or math.max(now, tonumber(ms))
if due > now + 31622400000 then
  return redis.error_reply('BADARG field=ms limit=31622400000')
end
local count, at = 0, 8
while at <= values do
  local width = tonumber(ARGV[at])
  if not width or width < 2 or width > 1000 or width % 2 ~= 0 or at + width > values then
    return redis.error_reply('BADARG field=entries at=' .. at)
  end
  count, at = count + 1, at + width + 1
end
if count > 1000 or count > size then
  return redis.error_reply('BADARG field=entries limit=' .. math.min(1000, size))
end

local refusal, declared, next_due = contract_mismatch(meta)
if refusal then
  return redis.error_reply(refusal)
end
local mark, last, deleted, counted = unpack(redis.call('HMGET', meta, 'dedupe', 'delayed_last', 'deleted', 'delayed'))
if not declared and deleted then
  return redis.error_reply('MISSING deleted=' .. deleted)
end
local before = redis.call('GET', request)
if before then
  local known_due, known_first, known_count, marked = string.match(before, '^(%d+) (%d+) (%d+) (%d+)$')
  if not known_due then
    return redis.error_reply('BADARG field=request stored=' .. before)
  elseif marked == mark then
    return {0, tonumber(known_due), tonumber(known_first), tonumber(known_count)}
  end
end
local waiting = redis.call('ZCARD', delayed)
if waiting + count > size then
  return redis.error_reply('FULL delayed=' .. waiting .. ' limit=' .. size)
end
local new_mark = mark or string.format('%.0f', now)
check_allowed('HSET', meta, 'delayed_due', '0')
check_allowed('ZADD', delayed, '1', '1')
check_allowed('SET', request, '', 'PX', window)

if not declared then
  redis.call('HSETNX', meta, 'protocol', protocol)
  redis.call('HSETNX', meta, 'partitions', partitions)
  redis.call('HSETNX', meta, 'hash', hash)
end
-- The order number is the time in microseconds, or one more than the last: so a number is not used twice, even if meta was
-- lost. A member begins with it: Redis sorts members of one score as text, so events that are due together keep their order.
last = tonumber(string.match(last or '', '^%d+$')) or 0
local first = math.max(last < 9e15 and last + 1 or 0, time[1] * 1000000 + time[2])
local number = first
at = 8
while at <= values do
  local width = tonumber(ARGV[at])
  local lengths = {}
  for i = 1, width do lengths[i] = #ARGV[at + i] end
  local head = string.format('%016.0f ', number) .. table.concat(lengths, ' ') .. '\n'
  redis.call('ZADD', delayed, due, head .. table.concat(ARGV, '', at + 1, at + width))
  number, at = number + 1, at + width + 1
end
local is_next = not next_due or due < (tonumber(next_due) or 0)
redis.call('HSET', meta, 'dedupe', new_mark, 'delayed_last', string.format('%.0f', number - 1), 'delayed_due',
  is_next and string.format('%.0f', due) or next_due, 'delayed',
  string.format('%.0f', (tonumber(string.match(counted or '', '^%d+$')) or 0) + count))
local receipt = string.format('%.0f %.0f %.0f ', due, first, count) .. new_mark
redis.call('SET', request, receipt, 'PX', window)
-- Only a hint: workers that wait for a later event, or for none, wake up for this one.
if is_next then
  redis.pcall('PUBLISH', (string.gsub(meta, '^runnel:{([^:]+):[^:]+:%d+}:([^:]+):meta$', 'runnel:{%1:%2}:delayed')), '')
end
return {1, due, first, count}
