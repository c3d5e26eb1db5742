/**
 * What is promised of publishers and subscribers holds where memory cannot be shared, too: the same tests, with batches that
 * go through the socket.
 *
 * @jest-environment-options {"memory": "heap"}
 */
import "../contract/closed-publisher.test.js";
import "../contract/closing.test.js";
import "../contract/dictionaries.test.js";
import "../contract/flow.test.js";
import "../contract/policies.test.js";
import "../contract/process.test.js";
import "../contract/refusals.test.js";
import "../contract/subscribers.test.js";
import "../contract/writer.test.js";
