-- The owner of the lease knows which keys are parked, and that has changed. So it must claim again. The nonce is that of this
-- call, by which its repeat is recognised.
local function end_lease(state_key, new_nonce, what)
  local epoch = redis.call('HGET', state_key, 'epoch')
  redis.call('HSET', state_key, 'last_dead', new_nonce)
  if epoch then
    epoch = string.format('%.0f', math.max((tonumber(epoch) or 0) + 1, now))
    redis.call('HSET', state_key, 'epoch', epoch, 'nonce', new_nonce, 'released', '1')
    note_lease(state_key, what, epoch)
  end
end
