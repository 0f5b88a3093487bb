//! A data set: up to three parts with the same classes and the same image size.

use crate::{Error, ImageSpec, Part, Result};

/// Training, validation and test parts, as far as the source has them.
///
/// ```
/// use brisk_data::{Dataset, ImageSpec, Memory, Part};
/// let image = ImageSpec { height: 1, width: 1, channels: 1 };
/// let part = Part::new(Memory::new(image, vec![10, 20], vec![1, 0])?, ["cat", "dog"], image)?;
/// let data = Dataset::new(part.clone()).with_test(part);
/// assert_eq!(data.classes(), ["cat", "dog"]);
/// assert_eq!(data.test().map(Part::len), Some(2));
/// assert!(data.validation().is_none());
/// # Ok::<(), brisk_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    train: Part,
    validation: Option<Part>,
    test: Option<Part>,
}

impl Dataset {
    /// A data set with only a training part.
    pub fn new(train: Part) -> Dataset {
        Dataset { name: "data".into(), train, validation: None, test: None }
    }

    /// Gives it a name, for messages and reports.
    pub fn with_name(self, name: impl Into<String>) -> Dataset {
        Dataset { name: name.into(), ..self }
    }

    /// Adds a validation part, which must have the classes and image size of the training part.
    pub fn with_validation(self, part: Part) -> Dataset {
        Dataset { validation: Some(part), ..self }
    }

    /// Adds a test part, which must have the classes and image size of the training part.
    pub fn with_test(self, part: Part) -> Dataset {
        Dataset { test: Some(part), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the classes, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        self.train.classes()
    }

    /// The size of its images.
    pub fn image_spec(&self) -> ImageSpec {
        self.train.image_spec()
    }

    /// The training part; empty if the source has only a test part.
    pub fn train(&self) -> &Part {
        &self.train
    }

    /// The validation part, if the source has one.
    pub fn validation(&self) -> Option<&Part> {
        self.validation.as_ref()
    }

    /// The test part, if the source has one.
    pub fn test(&self) -> Option<&Part> {
        self.test.as_ref()
    }

    /// What to evaluate a model on: the test part, or everything if the source is not divided.
    pub fn for_evaluation(&self) -> &Part {
        self.test.as_ref().unwrap_or(&self.train)
    }

    /// The parts that there are, with their names.
    pub fn parts(&self) -> Vec<(&'static str, &Part)> {
        let mut parts = vec![("train", &self.train)];
        parts.extend(self.validation.as_ref().map(|p| ("validation", p)));
        parts.extend(self.test.as_ref().map(|p| ("test", p)));
        parts
    }

    /// The same data with the images of a model's size and the classes of a model's list.
    /// An error names a class that the model does not know.
    pub fn for_model<C: AsRef<str>>(&self, image: ImageSpec, classes: &[C]) -> Result<Dataset> {
        let fit = |p: &Part| p.with_image_spec(image)?.with_classes(classes);
        Ok(Dataset {
            name: self.name.clone(),
            train: fit(&self.train)?,
            validation: self.validation.as_ref().map(fit).transpose()?,
            test: self.test.as_ref().map(fit).transpose()?,
        })
    }

    /// An error for the first label that is out of range, in any part.
    pub fn validate_labels(&self) -> Result<()> {
        let classes = self.classes().len();
        for (_, part) in self.parts() {
            if let Some(i) = (0..part.len()).find(|&i| part.label(i) as usize >= classes) {
                let label = match part.label(i) {
                    u32::MAX => "(unknown)".to_string(),
                    label => label.to_string(),
                };
                return Err(Error::LabelRange { place: part.label_place(i), label, classes });
            }
        }
        Ok(())
    }

    /// An error if there is nothing to train on, or a class has no training samples.
    pub fn validate_for_training(&self) -> Result<()> {
        if self.train.is_empty() {
            return Err(Error::Empty {
                place: format!("{}, training part", self.name),
                remedy: "Check the path, or add images".into(),
            });
        }
        match self.train.counts().iter().position(|&n| n == 0) {
            Some(class) => Err(Error::EmptyClass {
                place: format!("{}, training part", self.name),
                class: self.classes()[class].clone(),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    fn part(labels: Vec<u32>) -> Part {
        let image = ImageSpec { height: 1, width: 1, channels: 1 };
        Part::new(Memory::new(image, vec![0; labels.len()], labels).unwrap(), ["a", "b"], image).unwrap()
    }

    #[test]
    fn finds_bad_labels_and_empty_classes() {
        let message = |d: Dataset| match d.validate_labels().and_then(|()| d.validate_for_training()) {
            Ok(()) => String::new(),
            Err(e) => e.to_string(),
        };
        assert_eq!(message(Dataset::new(part(vec![0, 1]))), "");
        assert!(
            message(Dataset::new(part(vec![0, 1])).with_test(part(vec![2])))
                .contains("label 2 is out of range")
        );
        assert!(message(Dataset::new(part(vec![0, 0]))).contains("class `b` has no samples"));
        assert!(message(Dataset::new(part(vec![]))).contains("no samples"));
    }
}
