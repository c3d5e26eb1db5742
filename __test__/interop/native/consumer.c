/*
 * A native consumer as anybody could write it: it knows the C Device Interface and Node-API, and nothing of arrowlane.
 *
 *     make() -> [arrayAddress, schemaAddress]   zeroed structs of its own
 *     sum(arrayAddress, column) -> number       of an int64, int32 or float64 column
 *     state(arrayAddress) -> [rows, columns, deviceType, released]
 *     releaseLater(arrayAddress)                starts a thread that waits for go(), then releases array and schema
 *     go()                                      lets all those threads release, and waits until they did
 *     drop(arrayAddress)                        frees the structs; calls no release
 */
#include <node_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ArrowSchema {
  const char *format, *name, *metadata;
  int64_t flags, n_children;
  struct ArrowSchema **children, *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};
struct ArrowArray {
  int64_t length, null_count, offset, n_buffers, n_children;
  const void **buffers;
  struct ArrowArray **children, *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};
struct ArrowDeviceArray {
  struct ArrowArray array;
  int64_t device_id;
  int32_t device_type;
  void *sync_event;
  int64_t reserved[3];
};
struct Pair {
  struct ArrowDeviceArray array;
  struct ArrowSchema schema;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool gone = false;
static int waiting = 0;

static struct Pair *pair_at(napi_env env, napi_value value) {
  uint64_t address = 0;
  bool lossless;
  napi_get_value_bigint_uint64(env, value, &address, &lossless);
  return (struct Pair *)(uintptr_t)address;
}

static napi_value number(napi_env env, double value) {
  napi_value out;
  napi_create_double(env, value, &out);
  return out;
}

static napi_value make(napi_env env, napi_callback_info info) {
  (void)info;
  struct Pair *pair = calloc(1, sizeof *pair);
  napi_value out, address;
  napi_create_array(env, &out);
  napi_create_bigint_uint64(env, (uint64_t)(uintptr_t)&pair->array, &address);
  napi_set_element(env, out, 0, address);
  napi_create_bigint_uint64(env, (uint64_t)(uintptr_t)&pair->schema, &address);
  napi_set_element(env, out, 1, address);
  return out;
}

static napi_value sum(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value args[2];
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  struct Pair *pair = pair_at(env, args[0]);
  int32_t column = 0;
  napi_get_value_int32(env, args[1], &column);
  struct ArrowArray *array = pair->array.array.children[column];
  const char *format = pair->schema.children[column]->format;
  const uint8_t *validity = array->buffers[0];
  double total = 0;
  for (int64_t n = 0; n < pair->array.array.length; n++) {
    int64_t at = n + array->offset + pair->array.array.offset;
    if (validity != NULL && !(validity[at / 8] >> (at % 8) & 1)) continue;
    if (strcmp(format, "g") == 0) total += ((const double *)array->buffers[1])[at];
    else if (strcmp(format, "l") == 0) total += (double)((const int64_t *)array->buffers[1])[at];
    else if (strcmp(format, "i") == 0) total += ((const int32_t *)array->buffers[1])[at];
    else napi_throw_error(env, NULL, "this consumer sums int32, int64 and float64");
  }
  return number(env, total);
}

static napi_value state(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arg, out;
  napi_get_cb_info(env, info, &count, &arg, NULL, NULL);
  struct Pair *pair = pair_at(env, arg);
  napi_create_array(env, &out);
  napi_set_element(env, out, 0, number(env, (double)pair->array.array.length));
  napi_set_element(env, out, 1, number(env, (double)pair->array.array.n_children));
  napi_set_element(env, out, 2, number(env, pair->array.device_type));
  napi_set_element(env, out, 3, number(env, pair->array.array.release == NULL));
  return out;
}

static void *release(void *argument) {
  struct Pair *pair = argument;
  pthread_mutex_lock(&lock);
  while (!gone) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  pair->array.array.release(&pair->array.array);
  pair->schema.release(&pair->schema);
  pthread_mutex_lock(&lock);
  if (--waiting == 0) gone = false;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  return NULL;
}

static napi_value release_later(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arg;
  napi_get_cb_info(env, info, &count, &arg, NULL, NULL);
  pthread_t thread;
  pthread_mutex_lock(&lock);
  waiting++;
  pthread_mutex_unlock(&lock);
  pthread_create(&thread, NULL, release, pair_at(env, arg));
  pthread_detach(thread);
  return NULL;
}

static napi_value go(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  pthread_mutex_lock(&lock);
  gone = waiting > 0;
  pthread_cond_broadcast(&changed);
  while (waiting > 0) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  return NULL;
}

static napi_value drop(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arg;
  napi_get_cb_info(env, info, &count, &arg, NULL, NULL);
  free(pair_at(env, arg));
  return NULL;
}

NAPI_MODULE_INIT() {
  struct {
    const char *name;
    napi_callback call;
  } functions[] = {{"make", make}, {"sum", sum}, {"state", state}, {"releaseLater", release_later}, {"go", go}, {"drop", drop}};
  for (size_t n = 0; n < sizeof functions / sizeof *functions; n++) {
    napi_value function;
    napi_create_function(env, functions[n].name, NAPI_AUTO_LENGTH, functions[n].call, NULL, &function);
    napi_set_named_property(env, exports, functions[n].name, function);
  }
  return exports;
}
