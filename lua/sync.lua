#!lua flags=allow-oom
-- sync -- "here is who I am, what I hold and what I have let go: what should I hold?" Join, heartbeat, release, leave.
-- KEYS[1]   plan         hash  runnel:{APP:STREAM@PROCESSOR}:plan
-- KEYS[2]   members      hash  runnel:{APP:STREAM@PROCESSOR}:members
-- KEYS[3]   sessions     zset  runnel:{APP:STREAM@PROCESSOR}:sessions
-- ARGV[1]   partitions   int   partition count of the stream, 1 to 10000
-- ARGV[2]   session      int   ms, length of a session; the latest joiner sets it for the group
-- ARGV[3]   drain        int   ms a holder may take to give a partition back before it is granted anyway; likewise
-- ARGV[4]   collect      int   ms to wait for further joiners before partitions move; likewise
-- ARGV[5]   member       str   id of the member: letters, digits, _ . -, the first a letter or digit, at most 200
-- ARGV[6]   incarnation  str   random, one for each start of the member: letters, digits, _ -, at most 64
-- ARGV[7]   call         int   1 to join, then rising with every call
-- ARGV[8]   action       str   stay; retire (give back what is held, take nothing more); or leave
-- ARGV[9]   description  str   host pid language version, for people; at most 1000 bytes
-- ARGV[10]  holding      int   number of partitions held
-- ARGV[11+] rest         int   for each held: partition, grant; for each let go: partition, grant, grant seen or 0
-- REPLY     call         int   the newest call of this member; greater than the caller's if this one changed nothing
-- REPLY     generation   int   rises with every change of the assignments
-- REPLY     session      int   ms
-- REPLY     again        int   ms after which to call again at the latest, -1 if the heartbeat will do
-- REPLY     grants       int   for each partition: partition, grant, and 1 to hold it or 0 to give it back
-- ERROR     BADARG       an argument is malformed or over a limit
-- ERROR     MISMATCH     the group's partition count differs
-- ERROR     REPLACED     another incarnation has joined under this id
-- WRITES    yes
-- PUBLISHES runnel:{APP:STREAM@PROCESSOR}:wake
-- BOUND     unchanged: what the member holds; a change: partitions + members, 10000 and 1000 at most
-- VERSION   1
local plan, members, sessions = KEYS[1], KEYS[2], KEYS[3]
local partitions, session, drain, collect = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local member, incarnation, call, action = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local description, holding = ARGV[9], tonumber(ARGV[10])

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> allowed
-- Redis takes nothing back where a user may not run what comes behind the first write: so ask before it. What is refused
-- is called all the same, as nothing is written yet, for the refusal in Redis's own words.
local function must(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

if #KEYS ~= 3 or #ARGV < 10 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
for field, i in pairs({partitions = 1, session = 2, drain = 3, collect = 4, call = 7, holding = 10}) do
  if not string.match(ARGV[i], '^%d+$') or #ARGV[i] > 15 then return redis.error_reply('BADARG field=' .. field) end
end
if partitions < 1 or partitions > 10000 then
  return redis.error_reply('BADARG field=partitions limit=10000')
elseif session < 100 or session > 86400000 then
  return redis.error_reply('BADARG field=session')
elseif drain > 86400000 or collect > 86400000 then
  return redis.error_reply('BADARG field=' .. (drain > 86400000 and 'drain' or 'collect'))
elseif not string.match(member, '^%w[%w_.-]*$') or #member > 200 then
  return redis.error_reply('BADARG field=member')
elseif not string.match(incarnation, '^%w[%w_-]*$') or #incarnation > 64 then
  return redis.error_reply('BADARG field=incarnation')
elseif #description > 1000 then
  return redis.error_reply('BADARG field=description limit=1000')
elseif call < 1 then
  return redis.error_reply('BADARG field=call')
elseif action ~= 'stay' and action ~= 'retire' and action ~= 'leave' then
  return redis.error_reply('BADARG field=action')
elseif #ARGV < 10 + 2 * holding or (#ARGV - 10 - 2 * holding) % 3 ~= 0 then
  return redis.error_reply('BADARG field=holding')
end
for i = 11, #ARGV do
  if not string.match(ARGV[i], '^%d+$') or #ARGV[i] > 15 then return redis.error_reply('BADARG field=rest at=' .. i) end
end

local is = redis.call('HMGET', plan, 'generation', 'partitions', 'session', 'due', 'grants:' .. member, 'longest',
  'drain', 'collect')
local generation, due = tonumber(is[1]) or 0, tonumber(is[4]) or 0
if is[2] and tonumber(is[2]) ~= partitions then
  return redis.error_reply('MISMATCH field=partitions stored=' .. is[2] .. ' given=' .. partitions)
end
local function answer(known_call, text)
  local reply = {known_call, generation, tonumber(is[3]) or session, due > 0 and math.max(due - now, 0) or -1}
  for number in string.gmatch(text or '', '%d+') do reply[#reply + 1] = tonumber(number) end
  return reply
end

-- Who calls? A member's record is "incarnation previous call joined action description".
local record = redis.call('HGET', members, member) or ''
local stored, previous, last_call, joined, last_action = string.match(record, '^(%S+) (%S+) (%d+) (%d+) (%S+)')
if stored == incarnation then
  if call <= tonumber(last_call) then return answer(tonumber(last_call), is[5]) end
elseif stored then
  if incarnation == previous or call > 1 then return redis.error_reply('REPLACED member=' .. member) end
else
  local left = redis.call('HGET', members, 'left:' .. member)
  if left and string.match(left, '^%S+') == incarnation then return answer(call, '') end
  if redis.call('ZCARD', sessions) >= 1000 then return redis.error_reply('BADARG field=member limit=1000') end
end
-- A member whose group has lost the plan or its session joins anew: else nothing would ever be granted again.
local known = stored == incarnation and is[1] and is[3] and redis.call('ZSCORE', sessions, member)

-- A server clock that went back must stretch neither a session nor the wait for a holder or for joiners.
local longest = math.max(tonumber(is[6]) or 0, session)
for _, late in ipairs(redis.call('ZRANGEBYSCORE', sessions, '(' .. string.format('%.0f', now + longest), '+inf')) do
  redis.call('ZADD', sessions, now + longest, late)
end
if known then
  drain = tonumber(string.match(is[7] or '', '^%d+$')) or drain
  collect = tonumber(string.match(is[8] or '', '^%d+$')) or collect
else
  is[3] = tostring(session)
end
if due > now + math.max(drain, collect) then due = now end
local function renew()
  -- What it was promised before a joiner made sessions shorter stands: it may not have heard of that.
  local promised = known and math.min(tonumber(known), now + longest) or 0
  redis.call('ZADD', sessions, string.format('%.0f', math.max(now + tonumber(is[3]), promised)), member)
  redis.call('HSET', members, member, string.format('%s %s %.0f %.0f %s %s', incarnation,
    known and previous or stored or '-', call, known and joined or now, action, description))
end
local expired = redis.call('ZRANGEBYSCORE', sessions, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
if known and action == last_action and #ARGV == 10 + 2 * holding and (due == 0 or now < due)
    and (#expired == 0 or (#expired == 1 and expired[1] == member)) then
  renew()
  return answer(call, is[5])
end

-- Something changed. Halfway through, a member would be dropped and what it held be nobody's business any more.
must('ZADD', sessions, '0', member)
must('ZREM', sessions, member)
must('HSET', members, member, '')
must('HSET', plan, 'due', '0')
must('HDEL', members, member)
must('HDEL', plan, 'due')
must('HGETALL', members)
must('ZRANGE', sessions, '0', '-1')

-- Load the plan. A partition's record is "holder target grant asked", - for nobody. Most are where
-- they should be, and are recognised by the first pattern: this loop is most of what a change takes.
local holder, target, grant, asked = {}, {}, {}, {}
local was_holder, was_target, was_grant, was_asked = {}, {}, {}, {}
local had = {[member] = true} -- Who may have had grants.
local counts = redis.call('HMGET', plan, 'counter', 'collecting')
local counter, collecting = tonumber(counts[1]) or 0, math.min(tonumber(counts[2]) or 0, now + collect)
local format, match = string.format, string.match
for first = 0, partitions - 1, 1000 do
  local names, p = {}, first
  for number = first, math.min(first + 999, partitions - 1) do names[#names + 1] = format('p:%d', number) end
  for _, text in ipairs(redis.call('HMGET', plan, unpack(names))) do
    text = text or ''
    local a, h, g = 0, match(text, '^(%S+) %1 (%d+) 0$')
    local t = h
    if not h then
      h, t, g, a = match(text, '^(%S+) (%S+) (%d+) (%d+)$')
      a = tonumber(a)
    end
    was_holder[p], was_target[p], was_grant[p], was_asked[p] = h, t, g, a
    holder[p], target[p], grant[p], asked[p] = h or '-', t or '-', g or '0', a and math.min(a, now) or 0
    had[holder[p]] = true
    p = p + 1
  end
end

-- Members: drop those whose session has ended, enter or remove the caller.
for _, gone in ipairs(expired) do
  had[gone] = true
  if gone ~= member or not known then
    redis.call('ZREM', sessions, gone)
    redis.call('HDEL', members, gone)
  end
end
if action == 'leave' then
  redis.call('ZREM', sessions, member)
  redis.call('HDEL', members, member)
  redis.call('HSET', members, 'left:' .. member, string.format('%s %.0f', incarnation, now + session))
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
local live, stays, order = {}, {}, {}
for _, each in ipairs(redis.call('ZRANGE', sessions, 0, -1)) do
  live[each], had[each] = true, true
  if not retiring[each] then
    stays[each] = true
    order[#order + 1] = each
  end
end
table.sort(order)

-- What the caller let go is free, if it was the caller's. A grant that a partition found stale is used up.
local at = 11 + 2 * holding
while at <= #ARGV do
  local p, g, seen = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if holder[p] == member and tonumber(grant[p]) == g then holder[p] = '-' end
  counter = math.max(counter, seen)
  at = at + 3
end
-- A group that lost its keys learns from its members who holds what.
if not known then
  for i = 11, 10 + 2 * holding, 2 do
    local p, g = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    counter = math.max(counter, g)
    if holder[p] == '-' and tonumber(grant[p]) < g and call > 1 and action ~= 'leave' then
      holder[p], grant[p] = member, string.format('%.0f', g)
      if not stays[target[p]] then target[p] = member end
    end
  end
end
local free = false
for p = 0, partitions - 1 do
  if not live[holder[p]] or (holder[p] == member and not known and call == 1) then holder[p] = '-' end
  -- What was on its way to one who is gone stays with its holder for now, and is dealt out with the rest.
  if not stays[target[p]] then target[p], free = stays[holder[p]] and holder[p] or '-', true end
end

-- Joiners are collected for a moment, unless there is something free to give out anyway.
if not known and action == 'stay' and not free and collecting == 0 and #order > 1 then collecting = now + collect end
if #order > 0 and (free or (collecting > 0 and now >= collecting)) then
  collecting = 0
  -- Quotas differ by one; who holds more keeps more; ties start at a place given by the group's name, so that
  -- several small groups spread over the workers.
  local mine, offset, rank = {}, tonumber(string.sub(redis.sha1hex(plan), 1, 7), 16) % #order, {}
  for i, each in ipairs(order) do
    mine[each] = {}
    rank[each] = (i - 1 - offset) % #order
  end
  for p = 0, partitions - 1 do
    if target[p] ~= '-' then table.insert(mine[target[p]], p) end
  end
  table.sort(order, function(a, b)
    if #mine[a] ~= #mine[b] then return #mine[a] > #mine[b] end
    return rank[a] < rank[b]
  end)
  local base, extra, quota = math.floor(partitions / #order), partitions % #order, {}
  for i, each in ipairs(order) do
    quota[each] = base + (i <= extra and 1 or 0)
    local surplus = #mine[each] - quota[each]
    -- First what is still on its way to it, then the highest numbers.
    for _, moving in ipairs({true, false}) do
      for j = #mine[each], 1, -1 do
        if surplus > 0 and (holder[mine[each][j]] ~= each) == moving then
          target[mine[each][j]] = '-'
          table.remove(mine[each], j)
          surplus = surplus - 1
        end
      end
    end
  end
  local taker = 1
  for p = 0, partitions - 1 do
    if target[p] == '-' then
      while #mine[order[taker]] >= quota[order[taker]] do taker = taker + 1 end
      target[p] = order[taker]
      table.insert(mine[order[taker]], p)
    end
  end
end

-- Where all are on their way out, there is nobody to wait for.
if #order == 0 then collecting = 0 end

-- Grant what is free; ask back what must move, and stop waiting when its holder had its time.
due = collecting
local texts, changes, changed, touched = {}, {}, {}, {}
for p = 0, partitions - 1 do
  if holder[p] == target[p] then
    asked[p] = 0
  elseif target[p] ~= '-' then
    if holder[p] ~= '-' and asked[p] == 0 then asked[p] = now end
    if holder[p] == '-' or now >= asked[p] + drain then
      counter = math.max(counter, now) + 1
      holder[p], grant[p], asked[p] = target[p], string.format('%.0f', counter), 0
    else
      due = due == 0 and asked[p] + drain or math.min(due, asked[p] + drain)
    end
  end
  if was_holder[p] ~= holder[p] or was_target[p] ~= target[p] or was_grant[p] ~= grant[p] or was_asked[p] ~= asked[p] then
    changes[#changes + 1] = 'p:' .. p
    changes[#changes + 1] = string.format('%s %s %s %.0f', holder[p], target[p], grant[p], asked[p])
    touched[holder[p]], touched[was_holder[p] or '-'] = true, true
  end
end
-- The grants of each holder, written anew for those whose partitions changed. Whose they were that `revoke` took is
-- not known any more: after it, for all.
local revokeed, old_grants, names = is[4] == '1', {}, {}
for each in pairs(had) do names[#names + 1] = each end
for first = 1, #names, 1000 do
  local fields = {}
  for i = first, math.min(first + 999, #names) do fields[#fields + 1] = 'grants:' .. names[i] end
  for i, text in ipairs(redis.call('HMGET', plan, unpack(fields))) do old_grants[names[first + i - 1]] = text or nil end
end
for p = 0, partitions - 1 do
  local each = holder[p]
  if each ~= '-' then
    if revokeed or touched[each] or not old_grants[each] then
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
redis.call('HSET', plan, 'generation', generation, 'partitions', partitions, 'session', is[3], 'longest', longest,
  'drain', string.format('%.0f', drain), 'collect', string.format('%.0f', collect),
  'counter', string.format('%.0f', counter), 'due', string.format('%.0f', due),
  'collecting', string.format('%.0f', collecting))
changed[member] = nil
if next(changed) then redis.pcall('PUBLISH', (string.gsub(plan, ':plan$', ':wake')), generation) end -- Only a hint.
return answer(call, action ~= 'leave' and texts[member] or '')
