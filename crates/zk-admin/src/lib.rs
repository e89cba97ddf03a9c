//! Every word an operator reads: four-letter words, HTTP bodies, metric names
