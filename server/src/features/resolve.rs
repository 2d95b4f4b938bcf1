//! From the views of a plan to the generations that answer.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use asof_core::definition::StoredShape;
use asof_core::duration::Duration;
use asof_core::name::ProjectName;
use asof_core::online::{
    Generation, GenerationState, OnlineStore, ReadSet, ViewAddress, ViewSlot, ViewState,
};
use asof_core::row::{Layout, RowDecoder, RowField, RowSchema};
use asof_core::service::{ReadPlan, Value};
use asof_core::time::Timestamp;

use crate::error::{NotServed, ServerError};
use crate::materialize::held_back;

/// What a plan needs of the store, and what the store was last seen to have of it.
#[derive(Debug)]
pub(crate) struct Resolver {
    needs: Vec<Need>,
    /// Written when the store says that its views have changed; held for a copy of the pointer only.
    seen: RwLock<Option<(u64, Arc<Resolved>)>>,
}

/// One read of the plan.
#[derive(Debug)]
struct Need {
    address: ViewAddress,
    /// The shape of the view with the features of this read and no others.
    shape: StoredShape,
    schema: RowSchema,
    /// Which of the packed features the fields of the schema are.
    columns: Vec<usize>,
    ttl: Option<Duration>,
    key_columns: Vec<String>,
}

/// Generations that answer a plan.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// One for each read of the plan.
    pub(crate) reads: Vec<ResolvedRead>,
    /// Reads that share a key, so that the store looks once at each key.
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug)]
pub(crate) struct ResolvedRead {
    pub(crate) as_of: Timestamp,
    pub(crate) ttl: Option<Duration>,
    /// The packed features that it fills.
    pub(crate) columns: Vec<usize>,
    /// By schema version.
    pub(crate) decoders: Vec<RowDecoder>,
}

/// Views of one entity under one set of the caller's columns.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key_columns: Vec<String>,
    /// Each view once.
    pub(crate) set: ReadSet,
    /// For each of the views, the reads that it answers.
    pub(crate) reads: Vec<Vec<usize>>,
}

/// A group while its views are gathered.
struct Gathering<'a> {
    entity: u32,
    key_columns: &'a [String],
    views: Vec<(u32, Generation)>,
    reads: Vec<Vec<usize>>,
}

impl Resolver {
    /// `stored` is what the plan reads, in the order in which it is packed.
    pub(crate) fn new(project: &ProjectName, plan: &ReadPlan, stored: &[Value]) -> Self {
        Self {
            needs: (0..plan.reads.len())
                .filter_map(|read| Need::of(project, plan, stored, read))
                .collect(),
            seen: RwLock::new(None),
        }
    }

    /// The generations that answer as of `now`.
    pub(crate) fn resolve<S: OnlineStore + ?Sized>(
        &self,
        store: &S,
        plan: &ReadPlan,
        layout: &Layout,
        now: Timestamp,
    ) -> Result<Arc<Resolved>, ServerError> {
        // Taken before the state is read, so that a change in between is noticed next time.
        let changes = store.changes();
        let resolved = match self.seen(changes) {
            Some(resolved) => resolved,
            None => {
                let resolved = Arc::new(self.look(store, plan, layout)?);
                if let (Some(changes), Ok(mut seen)) = (changes, self.seen.write()) {
                    *seen = Some((changes, resolved.clone()));
                }
                resolved
            }
        };
        for (read, view) in resolved.reads.iter().zip(&plan.reads) {
            if read.as_of > now {
                return Err(NotServed::Later {
                    view: view.bound.view.name.to_string(),
                    as_of: read.as_of,
                    now,
                }
                .into());
            }
        }
        Ok(resolved)
    }

    fn seen(&self, changes: Option<u64>) -> Option<Arc<Resolved>> {
        let seen = self.seen.read().ok()?;
        let (at, resolved) = seen.as_ref()?;
        (Some(*at) == changes).then(|| resolved.clone())
    }

    fn look<S: OnlineStore + ?Sized>(
        &self,
        store: &S,
        plan: &ReadPlan,
        layout: &Layout,
    ) -> Result<Resolved, ServerError> {
        let views: HashMap<ViewAddress, (ViewSlot, ViewState)> = store
            .views()?
            .into_iter()
            .map(|(address, slot, state)| (address, (slot, state)))
            .collect();
        let mut reads = Vec::with_capacity(self.needs.len());
        let mut groups: Vec<Gathering<'_>> = Vec::new();
        for (at, (need, read)) in self.needs.iter().zip(&plan.reads).enumerate() {
            let view = read.bound.view.name.to_string();
            let (slot, state) = views
                .get(&need.address)
                .ok_or_else(|| NotServed::Never { view: view.clone() })?;
            let (serving, as_of) = serving(need, state, view)?;
            reads.push(need.resolved(serving, layout, as_of)?);
            add(
                &mut groups,
                need,
                (slot.entity, slot.view, serving.generation),
                at,
            );
        }
        let groups = groups.into_iter().map(Gathering::done).collect();
        Ok(Resolved { reads, groups })
    }
}

impl Need {
    fn of(project: &ProjectName, plan: &ReadPlan, stored: &[Value], number: usize) -> Option<Self> {
        let read = plan.reads.get(number)?;
        let fields = read.features.iter().map(|feature| RowField {
            name: feature.name.to_string(),
            data_type: feature.data_type.clone(),
        });
        // Every feature that is read is packed once.
        let columns = (0..read.features.len()).map(|feature| {
            let value = Value::Stored {
                read: number,
                feature,
            };
            stored.iter().position(|known| *known == value)
        });
        let columns = columns.collect::<Option<Vec<_>>>()?;
        Some(Self {
            address: ViewAddress::of(project, &read.bound),
            shape: read.narrowed().stored_shape(),
            schema: RowSchema {
                fields: fields.collect(),
            },
            columns,
            ttl: read.bound.view.ttl,
            key_columns: read.key_columns.clone(),
        })
    }

    fn resolved(
        &self,
        serving: &GenerationState,
        layout: &Layout,
        as_of: Timestamp,
    ) -> Result<ResolvedRead, ServerError> {
        let decoders = serving
            .answers()
            .iter()
            .map(|written| RowDecoder::try_new(written, &self.schema, layout, &self.columns))
            .collect::<Result<_, _>>()
            .map_err(|mismatch| ServerError::Bug(mismatch.to_string()))?;
        Ok(ResolvedRead {
            as_of,
            ttl: self.ttl,
            columns: self.columns.clone(),
            decoders,
        })
    }
}

impl Gathering<'_> {
    fn done(self) -> Group {
        Group {
            key_columns: self.key_columns.to_vec(),
            set: ReadSet::new(self.entity, self.views),
            reads: self.reads,
        }
    }
}

/// The generation that answers, complete and of the right shape.
fn serving<'a>(
    need: &Need,
    state: &'a ViewState,
    view: String,
) -> Result<(&'a GenerationState, Timestamp), NotServed> {
    let Some(serving) = &state.serving else {
        return Err(match (held_back(state).first(), &state.building) {
            (Some(run), _) => NotServed::RolledBack { view, run: *run },
            (None, Some(_)) => NotServed::FirstBuild { view },
            (None, None) => NotServed::Never { view },
        });
    };
    if serving.shape.rows != need.shape.rows {
        return Err(NotServed::Redefined { view });
    }
    if !serving.shape.serves(&need.shape) {
        return Err(missing_feature(need, serving, state.building.as_ref(), view));
    }
    let as_of = serving.as_of.ok_or(NotServed::Never { view: view.clone() })?;
    if !serving.has_fresh(need.ttl, as_of) {
        return Err(NotServed::Redefined { view });
    }
    Ok((serving, as_of))
}

fn missing_feature(
    need: &Need,
    serving: &GenerationState,
    building: Option<&GenerationState>,
    view: String,
) -> NotServed {
    let missing = need
        .shape
        .features
        .iter()
        .zip(&need.schema.fields)
        .find(|(shape, _)| !serving.shape.features.contains(shape));
    let (shape, feature) = missing.map_or((None, String::new()), |(shape, field)| {
        (Some(shape), field.name.clone())
    });
    let is_building =
        shape.is_some_and(|shape| building.is_some_and(|building| building.shape.features.contains(shape)));
    if is_building {
        NotServed::FeatureBuilding { view, feature }
    } else {
        NotServed::Feature { view, feature }
    }
}

fn add<'a>(groups: &mut Vec<Gathering<'a>>, need: &'a Need, place: (u32, u32, Generation), read: usize) {
    let (entity, view, generation) = place;
    let same = |group: &&mut Gathering<'_>| group.entity == entity && group.key_columns == need.key_columns;
    let Some(group) = groups.iter_mut().find(same) else {
        groups.push(Gathering {
            entity,
            key_columns: &need.key_columns,
            views: vec![(view, generation)],
            reads: vec![vec![read]],
        });
        return;
    };
    let known = group.views.iter().position(|(other, _)| *other == view);
    match known.and_then(|at| group.reads.get_mut(at)) {
        Some(reads) => reads.push(read),
        None => {
            group.views.push((view, generation));
            group.reads.push(vec![read]);
        }
    }
}
