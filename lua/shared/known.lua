-- The failure is known with the parked event from now on, and is none of the event at the checkpoint.
if redis.call('HGET', state, 'event') == string.match(failure, '^%S+') then
  redis.call('HSET', state, 'attempts', '0', 'deaths', '0', 'event', '', 'started', '')
  redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
end
