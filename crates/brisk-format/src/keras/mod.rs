//! Models of Keras.
mod hdf5;
mod region;
#[cfg(test)]
mod probe {
    #[test]
    fn probe() {
        let f = std::fs::File::open("/tmp/h/m.h5").unwrap();
        let n = f.metadata().unwrap().len();
        let h = super::hdf5::Hdf5::open(super::region::Region::new(f, 0, n), n).map_err(|e| panic!("{e}")).unwrap();
        println!("{:?}", h.tensors().count());
        println!("{:?}", h.texts("model_weights", "layer_names"));
        println!("{:?}", h.text("", "model_config").unwrap().unwrap().len());
        println!("{:?}", h.texts("model_weights/input", "weight_names"));
        println!("{:?}", h.tensor("model_weights/o1/o1/kernel"));
        println!("{:?}", h.tensor("optimizer_weights/adam/iteration"));
        println!("{:?}", h.tensor("optimizer_weights/adam/learning_rate"));
    }
}
