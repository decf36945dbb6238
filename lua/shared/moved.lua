-- Sets the checkpoint and makes a new token that is released, so that the current owner is fenced. No event is blamed.
local epoch = string.format('%.0f', math.max((tonumber(stored_epoch) or 0) + 1, now))
redis.call('HSET', meta, 'checkpoint:' .. processor, checkpoint)
redis.call('HSET', state, 'checkpoint', checkpoint, 'read', string.format('%.0f', new_read), 'epoch', epoch, 'nonce', nonce,
  'released', '1', 'attempts', '0', 'deaths', '0', 'event', '', 'unclean_tenures', '0', 'started', '', 'quarantined', '0',
  'last_seek', checkpoint .. ' ' .. string.format('%.0f', new_read) .. ' ' .. nonce)
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
note_lease(state, 'sought', epoch, nil, checkpoint)
