#!lua flags=allow-oom
-- trim -- remove old events of a partition although nothing is added, as far as retention allows.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- ARGV[1]  size       int     the oldest entries leave until so many are left; or 0, if their age decides
-- ARGV[2]  max_age    int     entries leave that are older, in ms, by the clock of the server; or 0, if their number decides
-- ARGV[3]  when_full  str     refuse to remove only what every processor has committed; drop_unread to remove other entries,
--                             too, while the stream has neither a processor nor a consumer group; drop_oldest to remove what
--                             processors have not committed, which counts what each of them lost, but never the newest entry
-- REPLY    removed    int     how many entries this call has removed
-- REPLY    more       int     1 if the same call would remove more at once, else 0
-- REPLY    kept_for   str     a processor for which further entries stay that should leave, because it has not committed them;
--                             - if they stay because nobody reads the stream; else empty
-- ERROR    BADARG     an argument is malformed; or not exactly one of size and max_age is given
-- REPEAT   harmless: 0, and what has become old since is removed
-- WRITES   yes
-- BOUND    1100 entries removed, plus the groups of the stream and the fields of meta
-- VERSION  1
local log, meta = KEYS[1], KEYS[2]
local size, max_age, when_full = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

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

-- >>> drop
-- Returns what a processor with this checkpoint loses if the first `number` of these entries are removed; nil if it loses none.
local function loss_of(oldest, number, checkpoint, group)
  local function count_after(id)
    local found = 0
    for i = 1, number do
      if newer(oldest[i][1], id) then found = found + 1 end
    end
    return found
  end
  local lost = count_after(checkpoint)
  local ahead = lost > 0 and group and group['entries-read'] and count_after(group['last-delivered-id']) or 0
  local read = ahead > 0 and string.format('%.0f', group['entries-read'] + ahead) or nil
  return lost > 0 and {number = lost, read = read, last = oldest[number][1]} or nil
end

local function check_drop(log_key, meta_key)
  check_allowed('HINCRBY', meta_key, 'dropped:', '1')
  check_allowed('XGROUP', 'SETID', log_key, '-', '$')
end

-- Removes these entries. The consumer group of a processor that loses some moves past them, so that they are no lag.
local function trim(log_key, meta_key, bound, losses)
  redis.call('XTRIM', log_key, 'MINID', '=', bound)
  for name, loss in pairs(losses) do
    redis.call('HINCRBY', meta_key, 'dropped:' .. name, loss.number)
    if loss.read then redis.pcall('XGROUP', 'SETID', log_key, name, loss.last, 'ENTRIESREAD', loss.read) end
  end
end
-- <<< drop

-- >>> age
-- Returns the lowest checkpoint: entries before it have been committed by every processor. Or `+` if nobody reads the stream
-- and it keeps nothing for that case. Or nil and the name of a processor if nothing may be removed, because its consumer group
-- is missing, or an empty name if nobody reads the stream.
local function lowest_checkpoint(log_key, meta_key)
  local groups, lowest, holder = {}, nil, ''
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do groups[to_table(each).name] = true end
  local fields = redis.call('HGETALL', meta_key)
  for i = 1, #fields, 2 do
    local name = string.match(fields[i], '^checkpoint:(.+)$')
    if name and not groups[name] then return nil, name end
    if name and (not lowest or newer(lowest, fields[i + 1])) then lowest, holder = fields[i + 1], name end
  end
  if not lowest and when_full == 'drop_unread' and not next(groups) then lowest = '+' end
  return lowest, holder
end

-- Decides which entries leave because they are older than `most_ms`. Returns the id below which they are removed, nil if none
-- are; the id from which entries are young enough; and what `lowest_checkpoint` says. An id tells the age of its entry.
local function plan_age(log_key, meta_key, most_ms, now_ms)
  local young = string.format('%.0f-0', math.max(now_ms - most_ms, 0))
  if young == '0-0' or redis.call('XLEN', log_key) == 0 then return nil, '0-0' end
  local lowest, holder = lowest_checkpoint(log_key, meta_key)
  local bound = lowest
  if bound and (bound == '+' or newer(bound, young)) then bound = young end
  check_allowed('HSET', meta_key, 'trimmed_at', '0')
  check_allowed('XTRIM', log_key, 'MINID', '0')
  return bound ~= '0-0' and bound or nil, young, lowest, holder
end

-- Removes at most 1100 entries: first whole nodes of the stream, of which Redis reads no entry, then up to 100 entries one by
-- one, which are in one node. If more are left, the next call looks again. Returns how many it removed, and whether more are.
local function trim_age(log_key, meta_key, bound, now_ms)
  local removed, more = 0, false
  if bound then
    removed = redis.call('XTRIM', log_key, 'MINID', '~', bound, 'LIMIT', 1000)
    more = removed > 800
    local rest = more and {} or redis.call('XRANGE', log_key, '-', '(' .. bound, 'COUNT', 101)
    if rest[101] then bound, more = rest[101][1], true end
    if rest[1] then removed = removed + redis.call('XTRIM', log_key, 'MINID', '=', bound) end
  end
  redis.call('HSET', meta_key, 'trimmed_at', more and '0' or string.format('%.0f', now_ms))
  return removed, more
end
-- <<< age

if #KEYS ~= 2 or #ARGV ~= 3 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif not string.match(ARGV[1], '^%d+$') or #ARGV[1] > 15 then
  return redis.error_reply('BADARG field=size')
elseif not string.match(ARGV[2], '^%d+$') or #ARGV[2] > 15 or (size > 0) == (max_age > 0) then
  return redis.error_reply('BADARG field=max_age')
elseif when_full ~= 'refuse' and when_full ~= 'drop_unread' and when_full ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=when_full')
end
local length = redis.call('XLEN', log)
local wanted = math.min(length - size, 100)
if length == 0 or wanted <= 0 then
  return {0, 0, ''}
end

if when_full == 'drop_oldest' then
  local more, last = length - wanted > size, '+'
  if max_age > 0 then
    if now <= max_age then return {0, 0, ''} end
    last = '(' .. string.format('%.0f-0', now - max_age)
  end
  local oldest = redis.call('XRANGE', log, '-', last, 'COUNT', 101)
  if max_age > 0 then wanted, more = math.min(#oldest, 100, length - 1), #oldest > 100 end
  if wanted == 0 then return {0, 0, ''} end
  local groups, losses, fields = {}, {}, redis.call('HGETALL', meta)
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local group = to_table(reply)
    groups[group.name] = group
  end
  for i = 1, #fields, 2 do
    local name = string.match(fields[i], '^checkpoint:(.+)$')
    if name then losses[name] = loss_of(oldest, wanted, fields[i + 1], groups[name]) end
  end
  check_allowed('XTRIM', log, 'MINID', '=', '0')
  if next(losses) then check_drop(log, meta) end
  trim(log, meta, oldest[wanted + 1] and oldest[wanted + 1][1] or string.sub(last, 2), losses)
  return {wanted, more and 1 or 0, ''}
end

if max_age > 0 then
  local bound, young, lowest, holder = plan_age(log, meta, max_age, now)
  local removed, more, kept = 0, false, {}
  if bound then removed, more = trim_age(log, meta, bound, now) end
  if young ~= '0-0' and lowest ~= '+' and not more and (not lowest or newer(young, lowest)) then
    kept = redis.call('XRANGE', log, lowest and '(' .. lowest or '-', '(' .. young, 'COUNT', 1)
  end
  return {removed, more and 1 or 0, kept[1] and (holder == '' and '-' or holder) or ''}
end

local lowest, holder = lowest_checkpoint(log, meta)
local kept_for = holder == '' and '-' or holder
if not lowest or lowest == '0-0' then
  return {0, 0, kept_for}
end
local old = redis.call('XRANGE', log, '-', lowest == '+' and '+' or '(' .. lowest, 'COUNT', wanted + 1)
check_allowed('XTRIM', log, 'MINID', '0')
local removed = redis.call('XTRIM', log, 'MINID', '=', old[wanted + 1] and old[wanted + 1][1] or lowest)
local more = length - removed > size and removed == 100
return {removed, more and 1 or 0, length - removed > size and not more and kept_for or ''}
