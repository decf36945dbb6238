#!lua flags=allow-oom
-- sync -- join a group, heartbeat, report released partitions, leave; the reply says which partitions the member should hold.
-- KEYS[1]   plan         hash  runnel:{APP:STREAM@PROCESSOR}:plan
-- KEYS[2]   members      hash  runnel:{APP:STREAM@PROCESSOR}:members
-- KEYS[3]   sessions     zset  runnel:{APP:STREAM@PROCESSOR}:sessions
-- ARGV[1]   partitions   int   partition count of the stream, 1 to 10000
-- ARGV[2]   session_timeout int ms after its last sync that a member is dead; the latest joiner sets it for the group
-- ARGV[3]   rebalance_timeout int ms an owner has to release a partition before it is granted to another anyway; set likewise
-- ARGV[4]   rebalance_delay int ms to wait for further joiners before partitions move; set likewise
-- ARGV[5]   member       str   id of the member: letters, digits, _ . -, the first a letter or digit, at most 200
-- ARGV[6]   incarnation  str   random, one for each start of the member: letters, digits, _ -, the first a letter or digit, at most 64
-- ARGV[7]   call         int   1 to join, then rising with every call
-- ARGV[8]   action       str   stay; retire (release everything, take nothing more); or leave
-- ARGV[9]   description  str   host pid language version script_set, for people; at most 1000 bytes; script_set, the fifth
--                              word if it has no =, is 7-40 hex digits in lower case
-- ARGV[10]  held         int   number of partitions held
-- ARGV[11+] leases       int   for each held: partition, grant; for each released: partition, grant, grant seen or 0
-- REPLY     call         int   the newest call of this member; greater than the caller's if this call changed nothing
-- REPLY     generation   int   rises with every change of the assignments
-- REPLY     session_timeout int ms, the group's
-- REPLY     next_call    int   ms after which to call again at the latest, -1 if the next heartbeat is early enough
-- REPLY     grants       int   for each partition that the member should hold or release: partition, grant, and 1 to hold or 0 to release it
-- ERROR     BADARG       an argument is malformed or over a limit
-- ERROR     MISMATCH     the group's partition count differs
-- ERROR     REPLACED     another incarnation has joined under this id
-- REPEAT    recognised by incarnation, call: the grants as they are now. Only call 1 is repeated; then the next call is sent
-- WRITES    yes
-- PUBLISHES runnel:{APP:STREAM@PROCESSOR}:wake
-- BOUND     unchanged: what the member holds; a change: partitions + members, 10000 and 1000 at most
-- VERSION   1
local plan, members, sessions = KEYS[1], KEYS[2], KEYS[3]
local partitions, session_timeout = tonumber(ARGV[1]), tonumber(ARGV[2])
local rebalance_timeout, rebalance_delay = tonumber(ARGV[3]), tonumber(ARGV[4])
local member, incarnation, call, action = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local description, held = ARGV[9], tonumber(ARGV[10])
-- A word with = says something else.
local script_set = string.match((description or '') .. ' ', '^%S+ +%S+ +%S+ +%S+ +([^ =]+) ')

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

if #KEYS ~= 3 or #ARGV < 10 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local integers = {partitions = 1, session_timeout = 2, rebalance_timeout = 3, rebalance_delay = 4, call = 7, held = 10}
for field, i in pairs(integers) do
  if not string.match(ARGV[i], '^%d+$') or #ARGV[i] > 15 then return redis.error_reply('BADARG field=' .. field) end
end
if partitions < 1 or partitions > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif session_timeout < 100 or session_timeout > 86400000 then
  return redis.error_reply('BADARG field=session_timeout')
elseif rebalance_timeout > 86400000 or rebalance_delay > 86400000 then
  return redis.error_reply('BADARG field=' .. (rebalance_timeout > 86400000 and 'rebalance_timeout' or 'rebalance_delay'))
elseif not string.match(member, '^%w[%w_.-]*$') or #member > 200 then
  return redis.error_reply('BADARG field=member')
elseif not string.match(incarnation, '^%w[%w_-]*$') or #incarnation > 64 then
  return redis.error_reply('BADARG field=incarnation')
elseif #description > 1000 then
  return redis.error_reply('BADARG field=description limit=1000')
elseif script_set and (not string.match(script_set, '^[0-9a-f]+$') or #script_set < 7 or #script_set > 40) then
  return redis.error_reply('BADARG field=description word=script_set')
elseif call < 1 then
  return redis.error_reply('BADARG field=call')
elseif action ~= 'stay' and action ~= 'retire' and action ~= 'leave' then
  return redis.error_reply('BADARG field=action')
elseif #ARGV < 10 + 2 * held or (#ARGV - 10 - 2 * held) % 3 ~= 0 then
  return redis.error_reply('BADARG field=held')
end
for i = 11, #ARGV do
  if not string.match(ARGV[i], '^%d+$') or #ARGV[i] > 15 then return redis.error_reply('BADARG field=leases at=' .. i) end
end

local stored_generation, stored_partitions, group_timeout, due, own_grants, longest_session, stored_timeout, stored_delay =
  unpack(redis.call('HMGET', plan, 'generation', 'partitions', 'session_timeout', 'due', 'grants:' .. member,
    'longest_session', 'rebalance_timeout', 'rebalance_delay'))
local was_revoked = due == '1' -- The script revoke sets it to 1.
local generation = tonumber(stored_generation) or 0
due = tonumber(due) or 0
if stored_partitions and tonumber(stored_partitions) ~= partitions then
  return redis.error_reply('MISMATCH field=partitions stored=' .. stored_partitions .. ' given=' .. partitions)
end
local function answer(newest_call, grants)
  local reply = {newest_call, generation, tonumber(group_timeout) or session_timeout, due > 0 and math.max(due - now, 0) or -1}
  for number in string.gmatch(grants or '', '%d+') do reply[#reply + 1] = tonumber(number) end
  return reply
end

-- Which member calls? Its record is "incarnation previous_incarnation call joined action description".
local record = redis.call('HGET', members, member) or ''
local stored, previous, last_call, joined, last_action = string.match(record, '^(%S+) (%S+) (%d+) (%d+) (%S+)')
if stored == incarnation then
  if call <= tonumber(last_call) then return answer(tonumber(last_call), own_grants) end
elseif stored then
  if incarnation == previous or call > 1 then return redis.error_reply('REPLACED member=' .. member) end
else
  local left = redis.call('HGET', members, 'left:' .. member)
  if left and string.match(left, '^%S+') == incarnation then return answer(call, '') end
  if redis.call('ZCARD', sessions) >= 1000 then return redis.error_reply('BADARG field=member limit=1000') end
end
-- A member whose group has lost its plan or the member's session joins again. Otherwise nothing would ever be granted again.
local known = stored == incarnation and stored_generation and group_timeout and redis.call('ZSCORE', sessions, member)

-- A server clock that went back must not extend a session, the wait for an owner or the wait for joiners.
local longest = math.max(tonumber(longest_session) or 0, session_timeout)
for _, late in ipairs(redis.call('ZRANGEBYSCORE', sessions, '(' .. string.format('%.0f', now + longest), '+inf')) do
  redis.call('ZADD', sessions, now + longest, late)
end
if known then
  rebalance_timeout = tonumber(string.match(stored_timeout or '', '^%d+$')) or rebalance_timeout
  rebalance_delay = tonumber(string.match(stored_delay or '', '^%d+$')) or rebalance_delay
else
  group_timeout = tostring(session_timeout)
end
if due > now + math.max(rebalance_timeout, rebalance_delay) then due = now end
local function renew()
  -- If a joiner has made sessions shorter, this member may not know it yet: the session it was promised before counts.
  local promised = known and math.min(tonumber(known), now + longest) or 0
  redis.call('ZADD', sessions, string.format('%.0f', math.max(now + tonumber(group_timeout), promised)), member)
  redis.call('HSET', members, member, string.format('%s %s %.0f %.0f %s %s', incarnation,
    known and previous or stored or '-', call, known and joined or now, action, description))
end
local expired = redis.call('ZRANGEBYSCORE', sessions, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
if known and action == last_action and #ARGV == 10 + 2 * held and (due == 0 or now < due)
    and (#expired == 0 or (#expired == 1 and expired[1] == member)) then
  renew()
  return answer(call, own_grants)
end

-- Something changed. If the ACL stopped this halfway, a member could be removed while its partitions stayed assigned to it,
-- and nobody would ever get them.
check_allowed('ZADD', sessions, '0', member)
check_allowed('ZREM', sessions, member)
check_allowed('HSET', members, member, '')
check_allowed('HSET', plan, 'due', '0')
check_allowed('HDEL', members, member)
check_allowed('HDEL', plan, 'due')
check_allowed('HGETALL', members)
check_allowed('ZRANGE', sessions, '0', '-1')

-- Load the plan. A partition's record is "owner target grant asked_at", - for nobody; asked_at is when its owner was first
-- asked to release it, or 0. The first pattern matches partitions whose owner is their target, which most are: this loop
-- takes most of the time of a change.
local owner, target, grant, asked_at = {}, {}, {}, {}
local old_owner, old_target, old_grant, old_asked_at = {}, {}, {}, {}
local affected = {[member] = true} -- Members that may have had grants.
local counts = redis.call('HMGET', plan, 'last_grant', 'rebalance_at')
local last_grant, rebalance_at = tonumber(counts[1]) or 0, math.min(tonumber(counts[2]) or 0, now + rebalance_delay)
local format, match = string.format, string.match
for first = 0, partitions - 1, 1000 do
  local names, p = {}, first
  for number = first, math.min(first + 999, partitions - 1) do names[#names + 1] = format('p:%d', number) end
  for _, text in ipairs(redis.call('HMGET', plan, unpack(names))) do
    text = text or ''
    local a, o, g = 0, match(text, '^(%S+) %1 (%d+) 0$')
    local t = o
    if not o then
      o, t, g, a = match(text, '^(%S+) (%S+) (%d+) (%d+)$')
      a = tonumber(a)
    end
    old_owner[p], old_target[p], old_grant[p], old_asked_at[p] = o, t, g, a
    owner[p], target[p], grant[p], asked_at[p] = o or '-', t or '-', g or '0', a and math.min(a, now) or 0
    affected[owner[p]] = true
    p = p + 1
  end
end

-- Members: remove those whose session has ended, then add or remove the caller.
for _, dead in ipairs(expired) do
  affected[dead] = true
  if dead ~= member or not known then
    redis.call('ZREM', sessions, dead)
    redis.call('HDEL', members, dead)
  end
end
if action == 'leave' then
  redis.call('ZREM', sessions, member)
  redis.call('HDEL', members, member)
  redis.call('HSET', members, 'left:' .. member, string.format('%s %.0f', incarnation, now + session_timeout))
else
  renew()
  redis.call('HDEL', members, 'left:' .. member)
end
local retiring, records = {}, redis.call('HGETALL', members)
for i = 1, #records, 2 do
  local name, text = records[i], records[i + 1]
  local left_until = string.match(name, '^left:') and string.match(text, ' (%d+)$')
  if left_until and tonumber(left_until) < now then redis.call('HDEL', members, name) end
  retiring[name] = string.match(text, '^%S+ %S+ %d+ %d+ (%S+)') == 'retire'
end
local live, stays, staying = {}, {}, {}
for _, each in ipairs(redis.call('ZRANGE', sessions, 0, -1)) do
  live[each], affected[each] = true, true
  if not retiring[each] then
    stays[each] = true
    staying[#staying + 1] = each
  end
end
table.sort(staying)

-- A partition that the caller reports as released has no owner any more, if the caller was the owner. A grant that the
-- partition refused as stale is used up: later ones must be larger than the one seen there.
local at = 11 + 2 * held
while at <= #ARGV do
  local p, g, seen = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if owner[p] == member and tonumber(grant[p]) == g then owner[p] = '-' end
  last_grant = math.max(last_grant, seen)
  at = at + 3
end
-- A group that lost its keys learns the owners from its members.
if not known then
  for i = 11, 10 + 2 * held, 2 do
    local p, g = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    last_grant = math.max(last_grant, g)
    if owner[p] == '-' and tonumber(grant[p]) < g and call > 1 and action ~= 'leave' then
      owner[p], grant[p] = member, string.format('%.0f', g)
      if not stays[target[p]] then target[p] = member end
    end
  end
end
local unassigned = false
for p = 0, partitions - 1 do
  if not live[owner[p]] or (owner[p] == member and not known and call == 1) then owner[p] = '-' end
  -- A pending move to a member that is gone is cancelled: the partition stays with its owner, and takes part in the
  -- rebalance below.
  if not stays[target[p]] then target[p], unassigned = stays[owner[p]] and owner[p] or '-', true end
end

-- Wait a moment for further joiners, unless partitions are unassigned and must be granted anyway.
if not known and action == 'stay' and not unassigned and rebalance_at == 0 and #staying > 1 then
  rebalance_at = now + rebalance_delay
end
if #staying > 0 and (unassigned or (rebalance_at > 0 and now >= rebalance_at)) then
  rebalance_at = 0
  -- Quotas differ by one at most. Members that have more keep more. Ties begin at a member chosen by the group's name, so
  -- that several small groups spread over the workers.
  local share, offset, rank = {}, tonumber(string.sub(redis.sha1hex(plan), 1, 7), 16) % #staying, {}
  for i, each in ipairs(staying) do
    share[each] = {}
    rank[each] = (i - 1 - offset) % #staying
  end
  for p = 0, partitions - 1 do
    if target[p] ~= '-' then table.insert(share[target[p]], p) end
  end
  table.sort(staying, function(a, b)
    if #share[a] ~= #share[b] then return #share[a] > #share[b] end
    return rank[a] < rank[b]
  end)
  local base, extra, quota = math.floor(partitions / #staying), partitions % #staying, {}
  for i, each in ipairs(staying) do
    quota[each] = base + (i <= extra and 1 or 0)
    local surplus = #share[each] - quota[each]
    -- Take away first the partitions that are still moving to this member, then those with the highest numbers.
    for _, moving in ipairs({true, false}) do
      for j = #share[each], 1, -1 do
        if surplus > 0 and (owner[share[each][j]] ~= each) == moving then
          target[share[each][j]] = '-'
          table.remove(share[each], j)
          surplus = surplus - 1
        end
      end
    end
  end
  local taker = 1
  for p = 0, partitions - 1 do
    if target[p] == '-' then
      while #share[staying[taker]] >= quota[staying[taker]] do taker = taker + 1 end
      target[p] = staying[taker]
      table.insert(share[staying[taker]], p)
    end
  end
end

-- If all members are retiring or gone, nobody has to wait for joiners.
if #staying == 0 then rebalance_at = 0 end

-- Grant partitions without an owner. Ask the owners of others that must move to release them; after the rebalance timeout
-- grant these to their targets anyway.
due = rebalance_at
local texts, changes, changed, touched = {}, {}, {}, {}
for p = 0, partitions - 1 do
  if owner[p] == target[p] then
    asked_at[p] = 0
  elseif target[p] ~= '-' then
    if owner[p] ~= '-' and asked_at[p] == 0 then asked_at[p] = now end
    if owner[p] == '-' or now >= asked_at[p] + rebalance_timeout then
      last_grant = math.max(last_grant, now) + 1
      owner[p], grant[p], asked_at[p] = target[p], string.format('%.0f', last_grant), 0
    else
      due = due == 0 and asked_at[p] + rebalance_timeout or math.min(due, asked_at[p] + rebalance_timeout)
    end
  end
  if old_owner[p] ~= owner[p] or old_target[p] ~= target[p] or old_grant[p] ~= grant[p] or old_asked_at[p] ~= asked_at[p] then
    changes[#changes + 1] = 'p:' .. p
    changes[#changes + 1] = string.format('%s %s %s %.0f', owner[p], target[p], grant[p], asked_at[p])
    touched[owner[p]], touched[old_owner[p] or '-'] = true, true
  end
end
-- Write the grants of each owner whose partitions changed. The script revoke leaves no trace of whose grants it withdrew, so
-- after it they are written for all owners.
local old_grants, names = {}, {}
for each in pairs(affected) do names[#names + 1] = each end
for first = 1, #names, 1000 do
  local fields = {}
  for i = first, math.min(first + 999, #names) do fields[#fields + 1] = 'grants:' .. names[i] end
  for i, text in ipairs(redis.call('HMGET', plan, unpack(fields))) do old_grants[names[first + i - 1]] = text or nil end
end
for p = 0, partitions - 1 do
  local each = owner[p]
  if each ~= '-' then
    if was_revoked or touched[each] or not old_grants[each] then
      local list = texts[each] or {}
      texts[each] = list
      list[#list + 1] = string.format('%d %s %d', p, grant[p], each == target[p] and 1 or 0)
    else
      texts[each] = old_grants[each]
    end
  end
end
for each, list in pairs(texts) do
  if type(list) == 'table' then texts[each] = table.concat(list, ' ') end
end
for each in pairs(old_grants) do
  if not texts[each] then redis.call('HDEL', plan, 'grants:' .. each); changed[each] = live[each] end
end
for each, text in pairs(texts) do
  if old_grants[each] ~= text then
    changes[#changes + 1] = 'grants:' .. each
    changes[#changes + 1] = text
    changed[each] = true
  end
end
if #changes > 0 then generation = generation + 1 end
for i = 1, #changes, 1000 do
  redis.call('HSET', plan, unpack(changes, i, math.min(i + 999, #changes)))
end
redis.call('HSET', plan, 'generation', generation, 'partitions', partitions, 'session_timeout', group_timeout,
  'longest_session', longest, 'rebalance_timeout', string.format('%.0f', rebalance_timeout),
  'rebalance_delay', string.format('%.0f', rebalance_delay), 'last_grant', string.format('%.0f', last_grant),
  'due', string.format('%.0f', due), 'rebalance_at', string.format('%.0f', rebalance_at))
changed[member] = nil
if next(changed) then redis.pcall('PUBLISH', (string.gsub(plan, ':plan$', ':wake')), generation) end -- Only a hint.
return answer(call, action ~= 'leave' and texts[member] or '')
