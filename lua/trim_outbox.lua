#!lua flags=allow-oom
-- trim_outbox -- remove the oldest entries of a processor's outbox once they were forwarded; report what the next one waits for.
-- KEYS[1]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[2]  outbox     stream  runnel:{APP:SOURCE:N}:STREAM:outbox:PROCESSOR
-- ARGV[1]  epoch      int     of the token
-- ARGV[2]  nonce      str     of the token
-- ARGV[3]  last       id      the last entry to remove: it and all before it were forwarded. 0-0 removes none
-- ARGV[4]  done       int     the number up to which nothing is left to forward: the new outbox_done
-- ARGV[5]  lost       int     how many entries after the stored outbox_done, up to done, were missing in the outbox
-- ARGV[6]  waits_for  str     empty, or the stream that has no room for the oldest entry that is left
-- ARGV[7]  reason     str     empty, or why it has none; at most 1000 bytes
-- REPLY    removed    int     entries that this call removed
-- REPLY    waiting    int     entries in the outbox that are not forwarded: outbox_last - outbox_done
-- ERROR    BADARG     an argument is malformed
-- ERROR    FENCED     the token is not the partition's, or was released; epoch=STORED
-- ERROR    CONFLICT   done is larger than outbox_last: the server has lost commits; outbox_last=STORED
-- REPEAT   harmless: 0, and how many wait now
-- WRITES   yes
-- BOUND    constant, plus the entries removed: an outbox holds as many as transact was told
-- VERSION  1
local state, outbox = KEYS[1], KEYS[2]
local epoch, nonce, last, done, lost, waits_for, reason = unpack(ARGV, 1, 7)

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

if #KEYS ~= 2 or #ARGV ~= 7 or outbox ~= string.gsub(state, ':processor:([^:]+)$', ':outbox:%1') then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local last_epoch, last_number = string.match(last, '^(%d+)%-(%d+)$')
if not last_epoch or #last_epoch > 15 or #last_number > 15 then
  return redis.error_reply('BADARG field=last')
elseif not string.match(done, '^%d+$') or #done > 15 then
  return redis.error_reply('BADARG field=done')
elseif not string.match(lost, '^%d+$') or #lost > 15 then
  return redis.error_reply('BADARG field=lost')
elseif #waits_for > 1000 or #reason > 1000 then
  return redis.error_reply('BADARG field=' .. (#waits_for > 1000 and 'waits_for' or 'reason') .. ' limit=1000')
end
local stored_epoch, stored_nonce, released, outbox_last, outbox_done, outbox_lost, waited_for = unpack(redis.call('HMGET', state,
  'epoch', 'nonce', 'released', 'outbox_last', 'outbox_done', 'outbox_lost', 'outbox_waits_for'))
if stored_epoch ~= epoch or stored_nonce ~= nonce or released == '1' then
  return redis.error_reply('FENCED epoch=' .. (stored_epoch or '0'))
end
outbox_last, outbox_done = tonumber(outbox_last) or 0, tonumber(outbox_done) or 0
done, lost = tonumber(done), tonumber(lost)
if done > outbox_last then
  return redis.error_reply('CONFLICT outbox_last=' .. string.format('%.0f', outbox_last))
elseif done > outbox_done and lost > done - outbox_done then
  return redis.error_reply('BADARG field=lost')
end
check_allowed('XTRIM', outbox, 'MINID', '=', '0-1')
check_allowed('HSET', state, 'outbox_done', '0')
check_allowed('HDEL', state, 'outbox_waits_for')

-- A repeat finds that outbox_done is there already, and counts no loss again.
local removed = redis.call('XTRIM', outbox, 'MINID', '=', last_epoch .. '-' .. string.format('%.0f', last_number + 1))
if done > outbox_done then
  redis.call('HSET', state, 'outbox_done', string.format('%.0f', done))
  if lost > 0 then redis.call('HSET', state, 'outbox_lost', string.format('%.0f', (tonumber(outbox_lost) or 0) + lost)) end
  outbox_done = done
end
if waits_for ~= (waited_for or '') then
  if waits_for == '' then
    redis.call('HDEL', state, 'outbox_waits_for', 'outbox_reason', 'outbox_since')
  else
    redis.call('HSET', state, 'outbox_waits_for', waits_for, 'outbox_reason', reason, 'outbox_since', string.format('%.0f', now))
  end
end
return {removed, outbox_last - outbox_done}
