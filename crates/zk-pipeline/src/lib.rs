//! Sessions and the path of a request
