#!lua flags=allow-oom
-- cancel -- remove a delayed event that is not due yet, or that has not entered the log yet.
-- KEYS[1]  meta      hash  runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[2]  delayed   zset  runnel:{APP:SOURCE:N}:STREAM:delayed
-- ARGV[1]  due       int   when it is due, in ms since 1970, from the reply of append_later
-- ARGV[2]  order     int   its order number, from the same reply
-- REPLY    removed   int   1, or 0 if it does not wait any more: it has entered the log, or was cancelled
-- ERROR    BADARG    an argument is malformed
-- REPEAT   harmless: 0
-- WRITES   yes
-- BOUND    log2 of the events that are due in the same ms read, 1 removed
-- VERSION  1
local meta, delayed = KEYS[1], KEYS[2]
local due, order = ARGV[1], ARGV[2]

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 2 or #ARGV ~= 2 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.find(due, '^%d+$') or #due > 15 then
  return redis.error_reply('BADARG field=due')
elseif not string.find(order, '^%d+$') or #order > 16 then
  return redis.error_reply('BADARG field=order')
end
-- Members of one score are sorted by their order number, with which they begin.
local wanted = string.rep('0', 16 - #order) .. order
local low, high = redis.call('ZCOUNT', delayed, '-inf', '(' .. due), redis.call('ZCOUNT', delayed, '-inf', due) - 1
local found
while low <= high and not found do
  local middle = math.floor((low + high) / 2)
  local number = string.sub(redis.call('ZRANGE', delayed, middle, middle)[1], 1, 16)
  if number == wanted then
    found = middle
  elseif number < wanted then
    low = middle + 1
  else
    high = middle - 1
  end
end
if not found then return 0 end
local counted = tonumber(string.match(redis.call('HGET', meta, 'delayed') or '', '^%d+$')) or 0
check_allowed('ZREMRANGEBYRANK', delayed, '0', '0')
check_allowed('HSET', meta, 'delayed_due', '0')
check_allowed('HDEL', meta, 'delayed_due')

redis.call('ZREMRANGEBYRANK', delayed, found, found)
redis.call('HSET', meta, 'delayed', string.format('%.0f', math.max(0, counted - 1)))
local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if first then
  redis.call('HSET', meta, 'delayed_due', string.format('%.0f', tonumber(first)))
else
  redis.call('HDEL', meta, 'delayed_due')
end
return 1
