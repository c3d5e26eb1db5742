/* A consumer that knows the Arrow C interfaces from their specification only: the definitions below are its text. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARROW_DEVICE_CPU 1

struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};

typedef int32_t ArrowDeviceType;

struct ArrowDeviceArray {
  struct ArrowArray array;
  int64_t device_id;
  ArrowDeviceType device_type;
  void* sync_event;
  int64_t reserved[3];
};

size_t consumer_device_array_size(void) { return sizeof(struct ArrowDeviceArray); }
size_t consumer_sync_event_offset(void) { return offsetof(struct ArrowDeviceArray, sync_event); }

/* Sums the int64 column `name`, nulls left out. Returns 0, or which expectation failed. */
int consumer_sum(const struct ArrowDeviceArray* device, const struct ArrowSchema* schema, const char* name, int64_t* sum) {
  const struct ArrowArray* batch = &device->array;
  if (device->device_type != ARROW_DEVICE_CPU || device->sync_event != NULL) return 1;
  if (batch->release == NULL || schema->release == NULL) return 2;
  if (strcmp(schema->format, "+s") != 0 || schema->n_children != batch->n_children) return 3;
  if (batch->n_buffers != 1 || batch->offset != 0) return 4;
  for (int64_t i = 0; i < schema->n_children; i++) {
    if (strcmp(schema->children[i]->name, name) != 0) continue;
    const struct ArrowArray* column = batch->children[i];
    if (strcmp(schema->children[i]->format, "l") != 0) return 5;
    if (column->n_buffers != 2 || column->length != batch->length) return 6;
    const uint8_t* valid = column->buffers[0];
    const int64_t* values = column->buffers[1];
    *sum = 0;
    for (int64_t row = column->offset; row < column->offset + column->length; row++) {
      if (valid == NULL || (valid[row / 8] >> (row % 8) & 1)) *sum += values[row];
    }
    return 0;
  }
  return 7;
}

/* Moves the array into `destination`, as the specification describes. */
void consumer_move(struct ArrowDeviceArray* source, struct ArrowDeviceArray* destination) {
  memcpy(destination, source, sizeof *source);
  source->array.release = NULL;
}

static void* release_device_array(void* pointer) {
  struct ArrowDeviceArray* device = pointer;
  device->array.release(&device->array);
  return device->array.release == NULL ? NULL : pointer;
}

/* Releases the array on a thread of its own. Returns 0, or 1 if the release callback is not NULL afterwards. */
int consumer_release_elsewhere(struct ArrowDeviceArray* device) {
  pthread_t thread;
  void* result = NULL;
  if (pthread_create(&thread, NULL, release_device_array, device) != 0) return 2;
  pthread_join(thread, &result);
  return result != NULL;
}
