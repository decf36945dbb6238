<?php
while (($line = fgets(STDIN)) !== false) {
    $event = json_decode($line, true);
    fwrite(STDERR, "order {$event['record']['order_id']} of {$event['key']}\n"); // The log.
    $count = ($event['tables']['orders_of'] ?? 0) + 1;
    $write = [['table' => 'orders_of', 'value' => $count]];
    echo json_encode(['id' => $event['id'], 'result' => 'ok', 'write' => $write]), "\n";
    flush();
}
