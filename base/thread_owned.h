#pragma once
#include <pthread.h>

#include <memory>
#include <new>

namespace klens {

// The calling thread's own T, made when it is first asked for and gone when the thread ends. Throws
// std::bad_alloc. Unlike a thread_local T: where memory runs out while its destructor is
// registered, glibc ends the process.
template <class T>
T& thread_owned() {
  struct Key {
    pthread_key_t key;
    Key() {
      if (pthread_key_create(&key, [](void* own) { delete static_cast<T*>(own); }) != 0)
        throw std::bad_alloc();
    }
    ~Key() { pthread_key_delete(key); }  // the library may be unloaded before threads end
  };
  thread_local T* own = nullptr;
  if (own == nullptr) {
    static const Key key;
    auto made = std::make_unique<T>();
    if (pthread_setspecific(key.key, made.get()) != 0) throw std::bad_alloc();
    own = made.release();
  }
  return *own;
}

}  // namespace klens
